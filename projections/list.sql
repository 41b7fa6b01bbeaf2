CREATE TABLE IF NOT EXISTS {schema}.list (
    uri                 varchar COLLATE "C" NOT NULL,
    cid                 varchar COLLATE "C" NOT NULL,
    creator             varchar COLLATE "C" NOT NULL,
    name                varchar COLLATE "C" NOT NULL,
    purpose             varchar COLLATE "C" NOT NULL,
    description         varchar COLLATE "C",
    "descriptionFacets" varchar COLLATE "C",
    "avatarCid"         varchar COLLATE "C",
    "createdAt"         varchar COLLATE "C" NOT NULL,
    "indexedAt"         varchar COLLATE "C" NOT NULL,
    "sortAt"            varchar COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (LEAST("createdAt", "indexedAt")) STORED,
    CONSTRAINT list_pkey PRIMARY KEY (uri)
);
CREATE INDEX IF NOT EXISTS list_creator_idx
    ON {schema}.list (creator);
