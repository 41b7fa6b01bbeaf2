CREATE TABLE IF NOT EXISTS {schema}.post_embed_image (
    "postUri"  varchar COLLATE "C" NOT NULL,
    position   varchar COLLATE "C" NOT NULL,
    "imageCid" varchar COLLATE "C" NOT NULL,
    alt        varchar COLLATE "C" NOT NULL,
    CONSTRAINT post_embed_image_pkey PRIMARY KEY ("postUri", position)
);
CREATE TABLE IF NOT EXISTS {schema}.post_embed_external (
    "postUri"   varchar COLLATE "C" NOT NULL,
    uri         varchar COLLATE "C" NOT NULL,
    title       varchar COLLATE "C" NOT NULL,
    description varchar COLLATE "C" NOT NULL,
    "thumbCid"  varchar COLLATE "C",
    CONSTRAINT post_embed_external_pkey PRIMARY KEY ("postUri")
);
CREATE TABLE IF NOT EXISTS {schema}.post_embed_record (
    "postUri"  varchar COLLATE "C" NOT NULL,
    "embedUri" varchar COLLATE "C" NOT NULL,
    "embedCid" varchar COLLATE "C" NOT NULL,
    CONSTRAINT post_embed_record_pkey PRIMARY KEY ("postUri", "embedUri")
);
CREATE TABLE IF NOT EXISTS {schema}.post_embed_video (
    "postUri"  varchar COLLATE "C" NOT NULL,
    "videoCid" varchar COLLATE "C" NOT NULL,
    alt        varchar COLLATE "C",
    CONSTRAINT post_embed_video_pkey PRIMARY KEY ("postUri")
);
CREATE TABLE IF NOT EXISTS {schema}.post_embed_gallery_image (
    "postUri"  varchar COLLATE "C" NOT NULL,
    position   varchar COLLATE "C" NOT NULL,
    "imageCid" varchar COLLATE "C" NOT NULL,
    alt        varchar COLLATE "C" NOT NULL,
    CONSTRAINT post_embed_gallery_image_pkey PRIMARY KEY ("postUri", position)
);
