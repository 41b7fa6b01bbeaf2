CREATE TABLE IF NOT EXISTS {schema}.verification (
    uri           varchar COLLATE "C" NOT NULL,
    cid           varchar COLLATE "C" NOT NULL,
    rkey          varchar COLLATE "C" NOT NULL,
    creator       varchar COLLATE "C" NOT NULL,
    subject       varchar COLLATE "C" NOT NULL,
    handle        varchar COLLATE "C" NOT NULL,
    "displayName" varchar COLLATE "C" NOT NULL,
    "createdAt"   varchar COLLATE "C" NOT NULL,
    "indexedAt"   varchar COLLATE "C" NOT NULL,
    "sortedAt"    varchar COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (LEAST("createdAt", "indexedAt")) STORED,
    CONSTRAINT verification_pkey PRIMARY KEY (uri),
    CONSTRAINT verification_unique_subject_creator UNIQUE (subject, creator)
);
