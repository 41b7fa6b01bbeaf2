CREATE TABLE IF NOT EXISTS {schema}.feed_item (
    uri             varchar COLLATE "C" NOT NULL,
    cid             varchar COLLATE "C" NOT NULL,
    type            varchar COLLATE "C" NOT NULL,
    "postUri"       varchar COLLATE "C" NOT NULL,
    "originatorDid" varchar COLLATE "C" NOT NULL,
    "sortAt"        varchar COLLATE "C" NOT NULL,
    CONSTRAINT feed_item_pkey PRIMARY KEY (uri)
);
CREATE INDEX IF NOT EXISTS feed_item_cursor_idx
    ON {schema}.feed_item ("sortAt", cid);
CREATE INDEX IF NOT EXISTS feed_item_originator_cursor_idx
    ON {schema}.feed_item ("originatorDid", "sortAt", cid);
CREATE INDEX IF NOT EXISTS feed_item_post_uri_idx
    ON {schema}.feed_item ("postUri");
