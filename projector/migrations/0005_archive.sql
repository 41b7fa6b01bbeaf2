-- Which log this is, so that what a killed archiver left in a shared folder is known for ours.
CREATE TABLE projector.log_identity (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    id uuid NOT NULL DEFAULT gen_random_uuid()
);

INSERT INTO projector.log_identity DEFAULT VALUES;

-- The archive's files: offsets first_offset up to, not with, end_offset. A row is committed before
-- its partition goes, and from then on a reader that misses the partition takes the file.
-- live_bytes is what the partition took when it was archived.
CREATE TABLE projector.log_archive (
    first_offset bigint PRIMARY KEY,
    end_offset bigint NOT NULL UNIQUE,
    location text COLLATE "C" NOT NULL UNIQUE,
    bytes bigint NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    live_bytes bigint NOT NULL,
    archived_at timestamptz NOT NULL DEFAULT now(),
    CHECK (first_offset < end_offset)
);

-- Receipts of erasures: which offsets were made empty markers, and which archive files were
-- rewritten. The account is known by its hash only. finished_at is NULL while it is under way.
CREATE TABLE projector.erasure (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    did_sha256 text COLLATE "C" NOT NULL,
    through_offset bigint NOT NULL,
    offsets bigint[] NOT NULL,
    offsets_sha256 text COLLATE "C" NOT NULL,
    dead_letters bigint NOT NULL DEFAULT 0,
    begun_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);

CREATE UNIQUE INDEX erasure_under_way_idx ON projector.erasure (did_sha256)
    WHERE finished_at IS NULL;

-- old_location is deleted once the row is committed.
CREATE TABLE projector.erasure_file (
    erasure bigint NOT NULL REFERENCES projector.erasure (id),
    first_offset bigint NOT NULL,
    old_location text COLLATE "C" NOT NULL,
    old_sha256 text COLLATE "C" NOT NULL,
    new_sha256 text COLLATE "C" NOT NULL,
    PRIMARY KEY (erasure, first_offset)
);
