CREATE TABLE IF NOT EXISTS {schema}.starter_pack (
    uri         varchar COLLATE "C" NOT NULL,
    cid         varchar COLLATE "C" NOT NULL,
    creator     varchar COLLATE "C" NOT NULL,
    "createdAt" varchar COLLATE "C" NOT NULL,
    "indexedAt" varchar COLLATE "C" NOT NULL,
    "sortAt"    varchar COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (LEAST("createdAt", "indexedAt")) STORED,
    name        varchar COLLATE "C",
    CONSTRAINT starter_pack_pkey PRIMARY KEY (uri)
);
CREATE INDEX IF NOT EXISTS starter_pack_creator_order_by_idx
    ON {schema}.starter_pack (creator, "sortAt", cid);
-- Search by name needs the extension pg_trgm; where the server has it not, there is no such index.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') THEN
        CREATE EXTENSION IF NOT EXISTS pg_trgm;
        CREATE INDEX IF NOT EXISTS starter_pack_name_tgrm_idx
            ON {schema}.starter_pack USING gist (name gist_trgm_ops);
    END IF;
END $$;
