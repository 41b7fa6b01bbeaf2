-- How many events of a collection a live source brought, by the minute and by the hour of the events'
-- own time: seconds is how long the bucket is, begins when it begins, since 1970. The collection ''
-- stands for all that came. newest_us is the time of the newest, in microseconds.
CREATE TABLE projector.rate (
    source text COLLATE "C" NOT NULL,
    collection text COLLATE "C" NOT NULL,
    seconds integer NOT NULL CHECK (seconds IN (60, 3600)),
    begins bigint NOT NULL,
    events bigint NOT NULL,
    newest_us bigint NOT NULL,
    PRIMARY KEY (source, collection, seconds, begins)
) WITH (fillfactor = 70);

-- What the daemon's last probe of an independent upstream found, by collection, and since when
-- anything of it is missing. found and missing add up over all probes.
CREATE TABLE projector.probe_share (
    collection text COLLATE "C" PRIMARY KEY,
    seen bigint NOT NULL,
    missing bigint NOT NULL,
    missing_in_tables bigint NOT NULL,
    missing_since timestamptz,
    seen_total bigint NOT NULL DEFAULT 0,
    missing_total bigint NOT NULL DEFAULT 0
);

CREATE TABLE projector.probe (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    upstream text COLLATE "C" NOT NULL,
    begun_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT now(),
    report jsonb NOT NULL
);
