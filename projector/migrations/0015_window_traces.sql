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
