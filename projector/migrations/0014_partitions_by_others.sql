-- Partitions of the log, and their indexes, are made by whoever appends or projects; only the tables'
-- owner could. These functions do it on their behalf, and nothing else: so ingest and daemons need
-- not own the log (ops/roles.sql). Nobody may call them until told so.

-- Makes the partition that follows the last, unless somebody else has: then false. Made as a table of
-- its own and then attached: attaching waits for no reader. Who may do what with the log may do it
-- with the partition.
CREATE FUNCTION projector.make_partition(first_offset bigint, events bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := 'event_log_' || lpad(first_offset::text, 15, '0');
    ends bigint := first_offset + events;
    granted record;
BEGIN
    -- Two appenders may both see the need: the second waits here and finds it done.
    LOCK TABLE projector.log_partition IN SHARE ROW EXCLUSIVE MODE;
    IF first_offset <> (SELECT coalesce(max(p.end_offset), 1) FROM projector.log_partition AS p) THEN
        RETURN false;
    END IF;
    EXECUTE format(
        'CREATE TABLE projector.%1$I (LIKE projector.event_log INCLUDING DEFAULTS,'
        ' CONSTRAINT %2$I PRIMARY KEY (log_offset),'
        ' CONSTRAINT %3$I CHECK (log_offset >= %4$s AND log_offset < %5$s))',
        name, name || '_pkey', name || '_range', first_offset, ends);
    EXECUTE format(
        'ALTER TABLE projector.event_log ATTACH PARTITION projector.%I FOR VALUES FROM (%s) TO (%s)',
        name, first_offset, ends);
    INSERT INTO projector.log_partition VALUES (name, first_offset, ends);
    FOR granted IN
        SELECT a.privilege_type AS what, pg_get_userbyid(a.grantee) AS who
        FROM pg_class AS c, aclexplode(c.relacl) AS a
        WHERE c.oid = 'projector.event_log'::regclass AND a.grantee NOT IN (0, c.relowner)
    LOOP
        EXECUTE format('GRANT %s ON projector.%I TO %I', granted.what, name, granted.who);
    END LOOP;
    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION projector.make_partition FROM PUBLIC;

-- Gives a sealed partition its index by account. Nobody appends to it any more, so only an erasure
-- could wait for this.
CREATE FUNCTION projector.index_partition(name text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM projector.log_partition AS p, projector.log_head AS h
    WHERE p.table_name = name AND p.end_offset <= h.head + 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is no sealed partition of the log', name;
    END IF;
    EXECUTE format('DROP INDEX IF EXISTS projector.%I', name || '_did_idx');
    EXECUTE format('CREATE INDEX %I ON projector.%I (did, log_offset)', name || '_did_idx', name);
END
$$;

REVOKE ALL ON FUNCTION projector.index_partition FROM PUBLIC;
