-- Puts the tables made in bsky_next in place of those in bsky, for the next statement of every reader;
-- the old ones are in bsky_before afterwards. Tables that are only in bsky go along, and so do the
-- rights that readers had. One short transaction: it waits two seconds at most for long queries, and
-- then nothing was done; repeat it.
--
--   psql "$PROJECTOR_DATABASE_URL" -v ON_ERROR_STOP=1 -f ops/moving_in.sql
BEGIN;

SET LOCAL lock_timeout = '2s';

DO $$
DECLARE
    part record;
BEGIN
    FOR part IN
        SELECT format('GRANT %s ON SCHEMA bsky_next TO %s', a.privilege_type,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END) AS sql
        FROM pg_namespace AS n, aclexplode(n.nspacl) AS a
        WHERE n.nspname = 'bsky' AND a.grantee <> n.nspowner
    LOOP
        EXECUTE part.sql;
    END LOOP;
    FOR part IN
        SELECT format('GRANT %s ON bsky_next.%I TO %s', a.privilege_type, old.relname,
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END) AS sql
        FROM pg_class AS old JOIN pg_class AS new
            ON new.relname = old.relname AND new.relnamespace = 'bsky_next'::regnamespace,
            aclexplode(old.relacl) AS a
        WHERE old.relnamespace = 'bsky'::regnamespace AND old.relkind = 'r'
            AND a.grantee <> old.relowner
    LOOP
        EXECUTE part.sql;
    END LOOP;
    FOR part IN
        SELECT format('ALTER TABLE bsky.%I SET SCHEMA bsky_next', relname) AS sql
        FROM pg_class WHERE relnamespace = 'bsky'::regnamespace AND relkind IN ('r', 'p')
            AND relname NOT IN (
                SELECT relname FROM pg_class WHERE relnamespace = 'bsky_next'::regnamespace)
        ORDER BY relname
    LOOP
        EXECUTE part.sql;
    END LOOP;
END
$$;

ALTER SCHEMA bsky RENAME TO bsky_before;

ALTER SCHEMA bsky_next RENAME TO bsky;

COMMIT;
