-- Projections and aggregates that are being built beside the live ones, and how far each is.
-- through: the offset up to which the log is loaded at first; settled: up to which the events of keys
-- with more than one event are applied; definitions: constraints and indexes left out meanwhile.
CREATE TABLE projector.build (
    name text COLLATE "C" PRIMARY KEY,
    projection text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    phase text COLLATE "C" NOT NULL,
    through_offset bigint NOT NULL,
    settled_offset bigint NOT NULL DEFAULT 0,
    definitions text[] NOT NULL DEFAULT '{}',
    started_at timestamptz NOT NULL DEFAULT now()
);
