-- Tables of the AppView that no event of the network fills: its own services write them.
CREATE TABLE IF NOT EXISTS {schema}.activity_subscription (
    creator      varchar COLLATE "C" NOT NULL,
    "subjectDid" varchar COLLATE "C" NOT NULL,
    key          varchar COLLATE "C" NOT NULL,
    "indexedAt"  varchar COLLATE "C" NOT NULL,
    post         boolean NOT NULL,
    reply        boolean NOT NULL,
    CONSTRAINT activity_subscription_pkey PRIMARY KEY (creator, key),
    CONSTRAINT activity_subscription_unique_creator_subject_did UNIQUE (creator, "subjectDid")
);
CREATE TABLE IF NOT EXISTS {schema}.actor_state (
    did              varchar COLLATE "C" NOT NULL,
    "lastSeenNotifs" varchar COLLATE "C" NOT NULL,
    "priorityNotifs" boolean NOT NULL DEFAULT false,
    CONSTRAINT actor_state_pkey PRIMARY KEY (did)
);
CREATE TABLE IF NOT EXISTS {schema}.blob_takedown (
    did           varchar COLLATE "C" NOT NULL,
    cid           varchar COLLATE "C" NOT NULL,
    "takedownRef" varchar COLLATE "C" NOT NULL,
    CONSTRAINT blob_takedown_pkey PRIMARY KEY (did, cid)
);
CREATE TABLE IF NOT EXISTS {schema}.bookmark (
    creator      varchar COLLATE "C" NOT NULL,
    key          varchar COLLATE "C" NOT NULL,
    "subjectUri" varchar COLLATE "C" NOT NULL,
    "subjectCid" varchar COLLATE "C" NOT NULL,
    "indexedAt"  varchar COLLATE "C" NOT NULL,
    CONSTRAINT bookmark_pkey PRIMARY KEY (creator, key),
    CONSTRAINT bookmark_unique_uri_creator UNIQUE ("subjectUri", creator)
);
CREATE TABLE IF NOT EXISTS {schema}.did_cache (
    did         varchar COLLATE "C" NOT NULL,
    doc         jsonb NOT NULL,
    "updatedAt" bigint NOT NULL,
    CONSTRAINT did_cache_pkey PRIMARY KEY (did)
);
CREATE TABLE IF NOT EXISTS {schema}.draft (
    creator     varchar COLLATE "C" NOT NULL,
    key         varchar COLLATE "C" NOT NULL,
    "createdAt" varchar COLLATE "C" NOT NULL,
    "updatedAt" varchar COLLATE "C" NOT NULL,
    payload     text COLLATE "C" NOT NULL,
    CONSTRAINT draft_pkey PRIMARY KEY (creator, key)
);
CREATE INDEX IF NOT EXISTS draft_creator_updated_at_key_idx
    ON {schema}.draft (creator, "updatedAt", key);
CREATE TABLE IF NOT EXISTS {schema}.label (
    src varchar COLLATE "C" NOT NULL,
    uri varchar COLLATE "C" NOT NULL,
    cid varchar COLLATE "C" NOT NULL,
    val varchar COLLATE "C" NOT NULL,
    neg boolean NOT NULL,
    cts varchar COLLATE "C" NOT NULL,
    exp varchar COLLATE "C",
    CONSTRAINT label_pkey PRIMARY KEY (src, uri, cid, val)
);
CREATE INDEX IF NOT EXISTS label_cts_idx
    ON {schema}.label (cts);
CREATE INDEX IF NOT EXISTS label_uri_index
    ON {schema}.label (uri);
CREATE TABLE IF NOT EXISTS {schema}.list_mute (
    "listUri"    varchar COLLATE "C" NOT NULL,
    "mutedByDid" varchar COLLATE "C" NOT NULL,
    "createdAt"  varchar COLLATE "C" NOT NULL,
    CONSTRAINT list_mute_pkey PRIMARY KEY ("mutedByDid", "listUri")
);
CREATE TABLE IF NOT EXISTS {schema}.moderation_action (
    id                serial,
    action            varchar COLLATE "C" NOT NULL,
    "subjectType"     varchar COLLATE "C" NOT NULL,
    "subjectDid"      varchar COLLATE "C" NOT NULL,
    "subjectUri"      varchar COLLATE "C",
    "subjectCid"      varchar COLLATE "C",
    reason            text COLLATE "C" NOT NULL,
    "createdAt"       varchar COLLATE "C" NOT NULL,
    "createdBy"       varchar COLLATE "C" NOT NULL,
    "reversedAt"      varchar COLLATE "C",
    "reversedBy"      varchar COLLATE "C",
    "reversedReason"  text COLLATE "C",
    "createLabelVals" varchar COLLATE "C",
    "negateLabelVals" varchar COLLATE "C",
    "durationInHours" integer,
    "expiresAt"       varchar COLLATE "C",
    CONSTRAINT moderation_action_pkey PRIMARY KEY (id)
);
CREATE TABLE IF NOT EXISTS {schema}.moderation_action_subject_blob (
    "actionId" integer NOT NULL,
    cid        varchar COLLATE "C" NOT NULL,
    CONSTRAINT "moderation_action_subject_blob_actionId_fkey"
        FOREIGN KEY ("actionId") REFERENCES {schema}.moderation_action(id),
    CONSTRAINT moderation_action_subject_blob_pkey PRIMARY KEY ("actionId", cid)
);
CREATE INDEX IF NOT EXISTS moderation_action_subject_blob_cid_idx
    ON {schema}.moderation_action_subject_blob (cid);
CREATE TABLE IF NOT EXISTS {schema}.moderation_event (
    id                serial,
    action            varchar COLLATE "C" NOT NULL,
    "subjectType"     varchar COLLATE "C" NOT NULL,
    "subjectDid"      varchar COLLATE "C" NOT NULL,
    "subjectUri"      varchar COLLATE "C",
    "subjectCid"      varchar COLLATE "C",
    comment           text COLLATE "C",
    meta              jsonb,
    "createdAt"       varchar COLLATE "C" NOT NULL,
    "createdBy"       varchar COLLATE "C" NOT NULL,
    "reversedAt"      varchar COLLATE "C",
    "reversedBy"      varchar COLLATE "C",
    "durationInHours" integer,
    "expiresAt"       varchar COLLATE "C",
    "reversedReason"  text COLLATE "C",
    "createLabelVals" varchar COLLATE "C",
    "negateLabelVals" varchar COLLATE "C",
    "legacyRefId"     integer,
    CONSTRAINT moderation_event_pkey PRIMARY KEY (id)
);
CREATE TABLE IF NOT EXISTS {schema}.moderation_report (
    id              serial,
    "subjectType"   varchar COLLATE "C" NOT NULL,
    "subjectDid"    varchar COLLATE "C" NOT NULL,
    "subjectUri"    varchar COLLATE "C",
    "subjectCid"    varchar COLLATE "C",
    "reasonType"    varchar COLLATE "C" NOT NULL,
    reason          text COLLATE "C",
    "reportedByDid" varchar COLLATE "C" NOT NULL,
    "createdAt"     varchar COLLATE "C" NOT NULL,
    CONSTRAINT moderation_report_pkey PRIMARY KEY (id)
);
CREATE TABLE IF NOT EXISTS {schema}.moderation_report_resolution (
    "reportId"  integer NOT NULL,
    "actionId"  integer NOT NULL,
    "createdBy" varchar COLLATE "C" NOT NULL,
    "createdAt" varchar COLLATE "C" NOT NULL,
    CONSTRAINT "moderation_report_resolution_actionId_fkey"
        FOREIGN KEY ("actionId") REFERENCES {schema}.moderation_action(id),
    CONSTRAINT moderation_report_resolution_pkey PRIMARY KEY ("reportId", "actionId"),
    CONSTRAINT "moderation_report_resolution_reportId_fkey"
        FOREIGN KEY ("reportId") REFERENCES {schema}.moderation_report(id)
);
CREATE INDEX IF NOT EXISTS moderation_report_resolution_action_id_idx
    ON {schema}.moderation_report_resolution ("actionId");
CREATE TABLE IF NOT EXISTS {schema}.moderation_subject_status (
    id               serial,
    did              varchar COLLATE "C" NOT NULL,
    "recordPath"     varchar COLLATE "C" NOT NULL DEFAULT '',
    "blobCids"       jsonb,
    "recordCid"      varchar COLLATE "C",
    "reviewState"    varchar COLLATE "C" NOT NULL,
    comment          varchar COLLATE "C",
    "muteUntil"      varchar COLLATE "C",
    "lastReviewedAt" varchar COLLATE "C",
    "lastReviewedBy" varchar COLLATE "C",
    "lastReportedAt" varchar COLLATE "C",
    takendown        boolean NOT NULL DEFAULT false,
    "suspendUntil"   varchar COLLATE "C",
    "createdAt"      varchar COLLATE "C" NOT NULL,
    "updatedAt"      varchar COLLATE "C" NOT NULL,
    CONSTRAINT moderation_status_unique_idx UNIQUE (did, "recordPath"),
    CONSTRAINT moderation_subject_status_pkey PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS moderation_subject_status_blob_cids_idx
    ON {schema}.moderation_subject_status USING gin ("blobCids");
CREATE TABLE IF NOT EXISTS {schema}.mute (
    "subjectDid"     varchar COLLATE "C" NOT NULL,
    "mutedByDid"     varchar COLLATE "C" NOT NULL,
    "createdAt"      varchar COLLATE "C" NOT NULL,
    "onlyReposts"    boolean NOT NULL DEFAULT false,
    "onlyQuoteposts" boolean NOT NULL DEFAULT false,
    CONSTRAINT mute_pkey PRIMARY KEY ("mutedByDid", "subjectDid")
);
CREATE TABLE IF NOT EXISTS {schema}.notification_push_token (
    did      varchar COLLATE "C" NOT NULL,
    platform varchar COLLATE "C" NOT NULL,
    token    varchar COLLATE "C" NOT NULL,
    "appId"  varchar COLLATE "C" NOT NULL,
    CONSTRAINT notification_push_token_pkey PRIMARY KEY (did, token)
);
CREATE TABLE IF NOT EXISTS {schema}.private_data (
    "actorDid"  varchar COLLATE "C" NOT NULL,
    namespace   varchar COLLATE "C" NOT NULL,
    key         varchar COLLATE "C" NOT NULL,
    payload     text COLLATE "C" NOT NULL,
    "indexedAt" varchar COLLATE "C" NOT NULL,
    "updatedAt" varchar COLLATE "C" NOT NULL,
    CONSTRAINT private_data_pkey PRIMARY KEY ("actorDid", namespace, key)
);
CREATE TABLE IF NOT EXISTS {schema}.subscription (
    service varchar COLLATE "C" NOT NULL,
    method  varchar COLLATE "C" NOT NULL,
    state   varchar COLLATE "C" NOT NULL,
    CONSTRAINT subscription_pkey PRIMARY KEY (service, method)
);
CREATE TABLE IF NOT EXISTS {schema}.suggested_feed (
    uri     varchar COLLATE "C" NOT NULL,
    "order" integer NOT NULL,
    CONSTRAINT suggested_feed_pkey PRIMARY KEY (uri)
);
CREATE TABLE IF NOT EXISTS {schema}.suggested_follow (
    did     varchar COLLATE "C" NOT NULL,
    "order" integer NOT NULL,
    CONSTRAINT suggested_follow_pkey PRIMARY KEY (did)
);
CREATE TABLE IF NOT EXISTS {schema}.tagged_suggestion (
    tag           varchar COLLATE "C" NOT NULL,
    subject       varchar COLLATE "C" NOT NULL,
    "subjectType" varchar COLLATE "C" NOT NULL,
    CONSTRAINT tagged_suggestion_pkey PRIMARY KEY (tag, subject)
);
CREATE TABLE IF NOT EXISTS {schema}.thread_mute (
    "rootUri"    varchar COLLATE "C" NOT NULL,
    "mutedByDid" varchar COLLATE "C" NOT NULL,
    "createdAt"  varchar COLLATE "C" NOT NULL,
    CONSTRAINT thread_mute_pkey PRIMARY KEY ("rootUri", "mutedByDid")
);
CREATE TABLE IF NOT EXISTS {schema}.view_param (
    name  varchar COLLATE "C" NOT NULL,
    value varchar COLLATE "C",
    CONSTRAINT view_param_pkey PRIMARY KEY (name)
);
INSERT INTO {schema}.view_param (name, value)
VALUES ('whats_hot_interval', '1day'), ('whats_hot_like_threshold', '2')
ON CONFLICT DO NOTHING;
