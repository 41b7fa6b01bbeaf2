CREATE TABLE IF NOT EXISTS {schema}.reference_list_opt_out (
    uri          varchar COLLATE "C" NOT NULL,
    cid          varchar COLLATE "C" NOT NULL,
    creator      varchar COLLATE "C" NOT NULL,
    "subjectUri" varchar COLLATE "C" NOT NULL,
    "createdAt"  varchar COLLATE "C" NOT NULL,
    "indexedAt"  varchar COLLATE "C" NOT NULL,
    "sortAt"     varchar COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (LEAST("createdAt", "indexedAt")) STORED,
    CONSTRAINT reference_list_opt_out_pkey PRIMARY KEY (uri),
    CONSTRAINT reference_list_opt_out_unique_subject UNIQUE (creator, "subjectUri")
);
