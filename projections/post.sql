CREATE TABLE IF NOT EXISTS {schema}.post (
    uri                      varchar COLLATE "C" NOT NULL,
    cid                      varchar COLLATE "C" NOT NULL,
    creator                  varchar COLLATE "C" NOT NULL,
    text                     varchar COLLATE "C" NOT NULL,
    "replyRoot"              varchar COLLATE "C",
    "replyRootCid"           varchar COLLATE "C",
    "replyParent"            varchar COLLATE "C",
    "replyParentCid"         varchar COLLATE "C",
    "createdAt"              varchar COLLATE "C" NOT NULL,
    "indexedAt"              varchar COLLATE "C" NOT NULL,
    "sortAt"                 varchar COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (LEAST("createdAt", "indexedAt")) STORED,
    langs                    jsonb,
    "invalidReplyRoot"       boolean,
    "violatesThreadGate"     boolean,
    tags                     jsonb,
    "violatesEmbeddingRules" boolean,
    "hasThreadGate"          boolean,
    "hasPostGate"            boolean,
    CONSTRAINT post_pkey PRIMARY KEY (uri)
);
CREATE INDEX IF NOT EXISTS post_order_by_idx
    ON {schema}.post ("sortAt", cid);
CREATE INDEX IF NOT EXISTS post_replyparent_idx
    ON {schema}.post ("replyParent") INCLUDE (uri);
CREATE INDEX IF NOT EXISTS post_creator_cursor_idx
    ON {schema}.post (creator, "sortAt", cid);
