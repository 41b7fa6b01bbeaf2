-- Four roles, each with what its work needs and no more:
--
--   projector_admin    owns everything; init, rebuild, heal, replay, archive, forget, dead-letters
--   projector_ingest   ingest: appends to the log; neither changes nor deletes what is there
--   projector_project  run: reads the log, writes the projections' tables, checkpoints, deltas
--   projector_read     status, verify, explain, dashboards, an AppView: reads
--
-- Run it as a superuser, before `projector init` and after it, and again whenever projections were
-- added; it changes nothing that is right already:
--
--   psql -v ON_ERROR_STOP=1 -f ops/roles.sql DATABASE        (-v schema=… where it is not bsky)
--
-- The roles have no password yet: \password projector_ingest, or certificates, or peer.

\if :{?schema}
\else
\set schema bsky
\endif
SET client_min_messages = warning;
SELECT set_config('projector.tables', :'schema', false) \g /dev/null

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['admin', 'ingest', 'project', 'read'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'projector_' || name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', 'projector_' || name);
        END IF;
    END LOOP;
    -- Schemas are made by init, rebuild and as-of.
    EXECUTE format('GRANT CREATE ON DATABASE %I TO projector_admin', current_database());
END
$$;

-- archive waits for readers whose snapshots are older than its file: it must see them.
GRANT pg_read_all_stats TO projector_admin;

CREATE SCHEMA IF NOT EXISTS projector AUTHORIZATION projector_admin;
CREATE SCHEMA IF NOT EXISTS :"schema" AUTHORIZATION projector_admin;

-- What another has made before there were roles becomes the admin's.
DO $$
DECLARE
    found record;
    ours text[] := ARRAY['projector', current_setting('projector.tables')];
BEGIN
    FOR found IN
        SELECT format('SCHEMA %I', nspname) AS what FROM pg_namespace WHERE nspname = ANY (ours)
        UNION ALL
        SELECT format('TABLE %s', c.oid::regclass) FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = ANY (ours) AND c.relkind IN ('r', 'p')
            AND c.relowner <> 'projector_admin'::regrole
        UNION ALL
        SELECT format('FUNCTION %s', p.oid::regprocedure) FROM pg_proc AS p
        JOIN pg_namespace AS n ON n.oid = p.pronamespace
        WHERE n.nspname = 'projector' AND p.proowner <> 'projector_admin'::regrole
    LOOP
        EXECUTE format('ALTER %s OWNER TO projector_admin', found.what);
    END LOOP;
END
$$;

GRANT USAGE ON SCHEMA projector TO projector_ingest, projector_project, projector_read;
GRANT USAGE ON SCHEMA :"schema" TO projector_project, projector_read;

-- Tables that init and rebuild will make.
ALTER DEFAULT PRIVILEGES FOR ROLE projector_admin IN SCHEMA projector
    GRANT SELECT ON TABLES TO projector_project, projector_read;
ALTER DEFAULT PRIVILEGES FOR ROLE projector_admin IN SCHEMA :"schema"
    GRANT SELECT ON TABLES TO projector_read;
ALTER DEFAULT PRIVILEGES FOR ROLE projector_admin IN SCHEMA :"schema"
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO projector_project;
ALTER DEFAULT PRIVILEGES FOR ROLE projector_admin IN SCHEMA :"schema"
    GRANT USAGE ON SEQUENCES TO projector_project;

GRANT SELECT ON ALL TABLES IN SCHEMA projector TO projector_project, projector_read;
GRANT SELECT ON ALL TABLES IN SCHEMA :"schema" TO projector_read;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA :"schema" TO projector_project;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA :"schema" TO projector_project;

SELECT to_regclass('projector.checkpoint') IS NOT NULL AS has_tables \gset
\if :has_tables
\else
\echo projector_admin may run projector init now; then run this file again
\quit
\endif

-- ingest: the log's end, the cursor, letters of messages that nobody can read, its lease.
GRANT SELECT ON projector.migration, projector.checkpoint, projector.log_partition,
    projector.log_archive TO projector_ingest;
GRANT SELECT, UPDATE ON projector.log_head TO projector_ingest;
GRANT SELECT, INSERT ON projector.event_log TO projector_ingest;
GRANT SELECT, INSERT, UPDATE ON projector.source_cursor TO projector_ingest;
GRANT SELECT, INSERT, DELETE ON projector.append_trace TO projector_ingest;
GRANT INSERT, SELECT (source, source_cursor, raw, attempts), UPDATE (attempts)
    ON projector.dead_letter TO projector_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON projector.lease TO projector_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON projector.rate TO projector_ingest;
GRANT EXECUTE ON FUNCTION projector.make_partition TO projector_ingest;

-- run: checkpoints, deltas, letters of events, the audit's findings, its leases.
GRANT UPDATE ON projector.checkpoint, projector.audit_state TO projector_project;
GRANT INSERT, DELETE ON projector.outbox TO projector_project;
GRANT INSERT, UPDATE, DELETE ON projector.dead_letter, projector.lease, projector.audit_account,
    projector.finding TO projector_project;
GRANT INSERT, UPDATE, DELETE ON projector.failure, projector.counter_finding,
    projector.window_trace, projector.merge_trace TO projector_project;
GRANT INSERT, UPDATE ON projector.probe TO projector_project;
GRANT INSERT, UPDATE, DELETE ON projector.probe_share TO projector_project;
GRANT EXECUTE ON FUNCTION projector.index_partition TO projector_project;

-- Events are copied into partitions by name; revisions and shelves of duplicates are one a projection;
-- what posts are judged by has tables of its own.
DO $$
DECLARE
    found record;
BEGIN
    FOR found IN SELECT table_name AS name FROM projector.log_partition
        WHERE to_regclass('projector.' || table_name) IS NOT NULL LOOP
        EXECUTE format('GRANT SELECT, INSERT ON projector.%I TO projector_ingest', found.name);
    END LOOP;
    FOR found IN SELECT relname AS name FROM pg_class
        WHERE relnamespace = 'projector'::regnamespace AND relkind = 'r'
            AND (relname ~ '^(version|duplicate)_'
                OR relname IN ('post_mention', 'post_notice', 'post_gate_rule', 'thread_gate_rule',
                    'thread_gate_hidden')) LOOP
        EXECUTE format('GRANT INSERT, UPDATE, DELETE ON projector.%I TO projector_project', found.name);
    END LOOP;
END
$$;
