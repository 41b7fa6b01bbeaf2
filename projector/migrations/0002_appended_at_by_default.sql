-- The time of the append is the transaction's: Postgres knows it, and it need not be sent with
-- every event.
DO $$
DECLARE
    partition text;
BEGIN
    ALTER TABLE projector.event_log ALTER COLUMN appended_at SET DEFAULT now();
    FOR partition IN SELECT table_name FROM projector.log_partition LOOP
        EXECUTE format('ALTER TABLE projector.%I ALTER COLUMN appended_at SET DEFAULT now()', partition);
    END LOOP;
END
$$;
