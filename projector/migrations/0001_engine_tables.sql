-- The engine's tables: the log with its head and cursors, checkpoints, outbox, dead letters, leases.

CREATE TABLE projector.event_log (
    log_offset bigint NOT NULL,
    did text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    collection text COLLATE "C",
    rkey text COLLATE "C",
    rev text COLLATE "C",
    cid text COLLATE "C",
    source_cursor text COLLATE "C" NOT NULL,
    record bytea,
    occurred_at timestamptz NOT NULL,
    appended_at timestamptz NOT NULL,
    CONSTRAINT event_log_pkey PRIMARY KEY (log_offset)
) PARTITION BY RANGE (log_offset);

-- One row. Its row lock is what puts appenders in order (invariant 1).
CREATE TABLE projector.log_head (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    head bigint NOT NULL
);

INSERT INTO projector.log_head (head) VALUES (0);

-- The partitions of event_log: offsets first_offset up to, not with, end_offset.
CREATE TABLE projector.log_partition (
    table_name text COLLATE "C" PRIMARY KEY,
    first_offset bigint NOT NULL UNIQUE,
    end_offset bigint NOT NULL UNIQUE,
    CHECK (first_offset < end_offset)
);

-- appends counts the append transactions of the source: the compare-and-swap of two appenders.
CREATE TABLE projector.source_cursor (
    source text COLLATE "C" PRIMARY KEY,
    cursor text COLLATE "C",
    appends bigint NOT NULL DEFAULT 0,
    events bigint NOT NULL DEFAULT 0,
    duplicates bigint NOT NULL DEFAULT 0,
    undecodable bigint NOT NULL DEFAULT 0,
    skipped jsonb NOT NULL DEFAULT '{}',
    message_bytes bigint NOT NULL DEFAULT 0,
    events_per_second real NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- For an aggregate log_offset is the highest offset whose deltas it has merged.
CREATE TABLE projector.checkpoint (
    projection text COLLATE "C" PRIMARY KEY,
    version integer NOT NULL,
    log_offset bigint NOT NULL DEFAULT 0,
    events bigint NOT NULL DEFAULT 0,
    events_per_second real NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Deltas on their way from table projectors to aggregate projectors. Short-lived rows with long
-- arrays: not compressed, and vacuumed by number of dead rows, not by share.
CREATE TABLE projector.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY,
    aggregate text COLLATE "C" NOT NULL,
    counter text COLLATE "C" NOT NULL,
    keys text[] COLLATE "C" NOT NULL,
    deltas integer[] NOT NULL,
    projection text COLLATE "C" NOT NULL,
    through_offset bigint NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (aggregate, id),
    CHECK (cardinality(keys) = cardinality(deltas))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

ALTER TABLE projector.outbox ALTER COLUMN keys SET STORAGE EXTERNAL;

ALTER TABLE projector.outbox ALTER COLUMN deltas SET STORAGE EXTERNAL;

-- Either an event that a projection could not apply (projection, log_offset), or a message that no
-- decoder could read (source, source_cursor, raw).
CREATE TABLE projector.dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stage text COLLATE "C" NOT NULL CHECK (stage IN ('decode', 'validate', 'apply')),
    reason text COLLATE "C" NOT NULL,
    error text NOT NULL,
    projection text COLLATE "C",
    log_offset bigint,
    source text COLLATE "C",
    source_cursor text COLLATE "C",
    raw bytea,
    attempts integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((projection IS NULL) = (log_offset IS NULL)),
    CHECK ((projection IS NULL) <> (source IS NULL))
);

CREATE UNIQUE INDEX dead_letter_event_idx ON projector.dead_letter (projection, log_offset)
    WHERE projection IS NOT NULL;

CREATE UNIQUE INDEX dead_letter_message_idx
    ON projector.dead_letter (source, source_cursor, md5(raw)) WHERE source IS NOT NULL;

-- Who runs what. A lease only saves work: what keeps two owners apart is the compare-and-swap on
-- the checkpoint (invariant 2) and on source_cursor.appends.
CREATE TABLE projector.lease (
    name text COLLATE "C" PRIMARY KEY,
    owner text NOT NULL,
    backend_pid integer NOT NULL,
    backend_start timestamptz NOT NULL,
    until timestamptz NOT NULL
);

-- Written only while traces are exported: which append put which offsets into the log.
CREATE TABLE projector.append_trace (
    through_offset bigint PRIMARY KEY,
    first_offset bigint NOT NULL,
    traceparent text NOT NULL
);
