CREATE TABLE IF NOT EXISTS {schema}.profile (
    uri                       varchar COLLATE "C" NOT NULL,
    cid                       varchar COLLATE "C" NOT NULL,
    creator                   varchar COLLATE "C" NOT NULL,
    "displayName"             varchar COLLATE "C",
    description               varchar COLLATE "C",
    "avatarCid"               varchar COLLATE "C",
    "bannerCid"               varchar COLLATE "C",
    "indexedAt"               varchar COLLATE "C" NOT NULL,
    "joinedViaStarterPackUri" varchar COLLATE "C",
    "createdAt"               varchar COLLATE "C" NOT NULL,
    "pinnedPost"              varchar COLLATE "C",
    "pinnedPostCid"           varchar COLLATE "C",
    CONSTRAINT profile_pkey PRIMARY KEY (uri)
);
CREATE INDEX IF NOT EXISTS profile_creator_idx
    ON {schema}.profile (creator);
CREATE INDEX IF NOT EXISTS profile_starter_pack_joined_idx
    ON {schema}.profile ("joinedViaStarterPackUri", "createdAt");
-- Search by name needs the extension pg_trgm; where the server has it not, there is no such index.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm') THEN
        CREATE EXTENSION IF NOT EXISTS pg_trgm;
        CREATE INDEX IF NOT EXISTS profile_display_name_tgrm_idx
            ON {schema}.profile USING gist ("displayName" gist_trgm_ops);
    END IF;
END $$;
