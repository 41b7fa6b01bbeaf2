CREATE TABLE IF NOT EXISTS {schema}.list_item (
    uri          varchar COLLATE "C" NOT NULL,
    cid          varchar COLLATE "C" NOT NULL,
    creator      varchar COLLATE "C" NOT NULL,
    "subjectDid" varchar COLLATE "C" NOT NULL,
    "listUri"    varchar COLLATE "C" NOT NULL,
    "createdAt"  varchar COLLATE "C" NOT NULL,
    "indexedAt"  varchar COLLATE "C" NOT NULL,
    "sortAt"     varchar COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (LEAST("createdAt", "indexedAt")) STORED,
    CONSTRAINT list_item_pkey PRIMARY KEY (uri),
    CONSTRAINT list_item_unique_subject_in_list UNIQUE ("listUri", "subjectDid")
);
CREATE INDEX IF NOT EXISTS list_item_creator_idx
    ON {schema}.list_item (creator);
CREATE INDEX IF NOT EXISTS list_item_subject_idx
    ON {schema}.list_item ("subjectDid");
