-- Written only while traces are exported: which span applied which window, and which spans merged the
-- deltas of which window. Telemetry: nothing is decided by them, and old rows are forgotten.
CREATE TABLE projector.window_trace (
    projection text COLLATE "C" NOT NULL,
    through_offset bigint NOT NULL,
    after_offset bigint NOT NULL,
    traceparent text NOT NULL,
    PRIMARY KEY (projection, through_offset)
);

CREATE TABLE projector.merge_trace (
    projection text COLLATE "C" NOT NULL,
    through_offset bigint NOT NULL,
    aggregate text COLLATE "C" NOT NULL,
    traceparent text NOT NULL,
    PRIMARY KEY (projection, through_offset, aggregate, traceparent)
);

-- Keys of which a counter, with its pending deltas, was not what its rows are when the rolling audit
-- last looked. heal mends them, and the audit looks at them again every second.
CREATE TABLE projector.counter_finding (
    aggregate text COLLATE "C" NOT NULL,
    counter text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    kept bigint NOT NULL,
    counted bigint NOT NULL,
    found_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (aggregate, counter, key)
);

-- At which checkpoint a projection fails, how often it has, and why. Where the checkpoint is another
-- by now, that is over.
CREATE TABLE projector.failure (
    projection text COLLATE "C" PRIMARY KEY,
    log_offset bigint NOT NULL,
    attempts integer NOT NULL,
    error text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    failed_at timestamptz NOT NULL DEFAULT now()
);
