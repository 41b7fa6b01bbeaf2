CREATE TABLE IF NOT EXISTS {schema}.actor (
    did                           varchar COLLATE "C" NOT NULL,
    handle                        varchar COLLATE "C",
    "indexedAt"                   varchar COLLATE "C" NOT NULL,
    "takedownRef"                 varchar COLLATE "C",
    "upstreamStatus"              varchar COLLATE "C",
    "trustedVerifier"             boolean NOT NULL DEFAULT false,
    "ageAssuranceStatus"          text COLLATE "C",
    "ageAssuranceLastInitiatedAt" varchar COLLATE "C",
    "ageAssuranceAccess"          text COLLATE "C",
    "ageAssuranceCountryCode"     text COLLATE "C",
    "ageAssuranceRegionCode"      text COLLATE "C",
    CONSTRAINT actor_pkey PRIMARY KEY (did),
    CONSTRAINT actor_handle_key UNIQUE (handle)
);
-- Search by name needs the extension pg_trgm; where the server has it not, there is no such index.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') THEN
        CREATE EXTENSION IF NOT EXISTS pg_trgm;
        CREATE INDEX IF NOT EXISTS actor_handle_tgrm_idx
            ON {schema}.actor USING gist (handle gist_trgm_ops);
    END IF;
END $$;
