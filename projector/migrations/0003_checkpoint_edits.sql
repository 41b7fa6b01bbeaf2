-- How often somebody other than the projector has written to a projection's tables, as the retry of
-- a dead letter does: what the projector looked up before then is looked up again.
ALTER TABLE projector.checkpoint ADD COLUMN edits bigint NOT NULL DEFAULT 0;
