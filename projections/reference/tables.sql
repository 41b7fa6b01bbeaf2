CREATE TABLE IF NOT EXISTS {schema}.op_thread_reply (
    "rootUri"   varchar COLLATE "C" NOT NULL,
    "parentUri" varchar COLLATE "C" NOT NULL,
    uri         varchar COLLATE "C" NOT NULL,
    "deletedAt" varchar COLLATE "C",
    CONSTRAINT op_thread_reply_pkey PRIMARY KEY ("rootUri", uri)
);
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
CREATE TABLE IF NOT EXISTS {schema}.actor_sync (
    did         varchar COLLATE "C" NOT NULL,
    "commitCid" varchar COLLATE "C" NOT NULL,
    "repoRev"   varchar COLLATE "C",
    CONSTRAINT actor_sync_pkey PRIMARY KEY (did)
);
-- The AppView fills it; it decides who is notified.
CREATE TABLE IF NOT EXISTS {schema}.thread_mute (
    "rootUri"    varchar COLLATE "C" NOT NULL,
    "mutedByDid" varchar COLLATE "C" NOT NULL,
    "createdAt"  varchar COLLATE "C" NOT NULL,
    CONSTRAINT thread_mute_pkey PRIMARY KEY ("rootUri", "mutedByDid")
);
