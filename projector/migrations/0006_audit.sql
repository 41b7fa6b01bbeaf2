-- Keys of which a projection's tables hold something else than the log says, as verify and the
-- rolling audit found them at their last look. heal takes them from here.
CREATE TABLE projector.finding (
    projection text COLLATE "C" NOT NULL,
    did text COLLATE "C" NOT NULL,
    uri text COLLATE "C" NOT NULL,
    part text COLLATE "C" NOT NULL CHECK (part IN ('row', 'waiting', 'listed', 'rev')),
    kind text COLLATE "C" NOT NULL CHECK (kind IN ('missing', 'extra', 'altered')),
    columns text[] NOT NULL,
    log_offset bigint,
    found_at timestamptz NOT NULL DEFAULT now(),
    as_of bigint NOT NULL,
    PRIMARY KEY (did, projection, uri, part)
);

-- The accounts that the rolling audit knows. round is the one in which it was looked at last; as_of
-- the lowest checkpoint when it was last found to be right.
CREATE TABLE projector.audit_account (
    did text COLLATE "C" PRIMARY KEY,
    round integer NOT NULL DEFAULT 0,
    as_of bigint NOT NULL DEFAULT 0,
    audited_at timestamptz
);

CREATE INDEX audit_account_round_idx ON projector.audit_account (round, did);

-- Where the rolling audit is: the log is known for accounts up to listed_offset, and of projection
-- strays_in the table's accounts up to strays_after. accounts and proven count audit_account, all
-- and those of this round; round_as_of is the least of what they were proven as of, and
-- complete_as_of that of the last round that is complete.
CREATE TABLE projector.audit_state (
    one_row boolean PRIMARY KEY DEFAULT true CHECK (one_row),
    listed_offset bigint NOT NULL DEFAULT 0,
    strays_in text COLLATE "C" NOT NULL DEFAULT '',
    strays_after text COLLATE "C" NOT NULL DEFAULT '',
    round integer NOT NULL DEFAULT 1,
    round_as_of bigint NOT NULL DEFAULT 0,
    complete_as_of bigint,
    accounts bigint NOT NULL DEFAULT 0,
    proven bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO projector.audit_state DEFAULT VALUES;
