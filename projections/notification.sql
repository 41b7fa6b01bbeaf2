CREATE TABLE IF NOT EXISTS {schema}.notification (
    id              bigserial NOT NULL,
    did             varchar COLLATE "C" NOT NULL,
    "recordUri"     varchar COLLATE "C" NOT NULL,
    "recordCid"     varchar COLLATE "C" NOT NULL,
    author          varchar COLLATE "C" NOT NULL,
    reason          varchar COLLATE "C" NOT NULL,
    "reasonSubject" varchar COLLATE "C",
    "sortAt"        varchar COLLATE "C" NOT NULL,
    CONSTRAINT notification_pkey PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS notification_did_sortat_idx
    ON {schema}.notification (did, "sortAt");
CREATE INDEX IF NOT EXISTS notification_record_idx
    ON {schema}.notification ("recordUri");
CREATE INDEX IF NOT EXISTS notification_author_idx
    ON {schema}.notification (author);
