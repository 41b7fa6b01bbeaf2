CREATE TABLE IF NOT EXISTS {schema}.feed_generator (
    uri                 varchar COLLATE "C" NOT NULL,
    cid                 varchar COLLATE "C" NOT NULL,
    creator             varchar COLLATE "C" NOT NULL,
    "feedDid"           varchar COLLATE "C" NOT NULL,
    "displayName"       varchar COLLATE "C",
    description         varchar COLLATE "C",
    "descriptionFacets" varchar COLLATE "C",
    "avatarCid"         varchar COLLATE "C",
    "createdAt"         varchar COLLATE "C" NOT NULL,
    "indexedAt"         varchar COLLATE "C" NOT NULL,
    "sortAt"            varchar COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (LEAST("createdAt", "indexedAt")) STORED,
    CONSTRAINT feed_generator_pkey PRIMARY KEY (uri)
);
CREATE INDEX IF NOT EXISTS feed_generator_creator_index
    ON {schema}.feed_generator (creator);
