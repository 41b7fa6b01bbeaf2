-- A rebuild loads the log by several processes, window by window in no order.
-- loaded: the offsets whose events are loaded; noted: the first offset of the log's partitions when
-- the events of keys with more than one event were noted: those of archived offsets are not.
ALTER TABLE projector.build ADD COLUMN loaded int8multirange NOT NULL DEFAULT '{}';
ALTER TABLE projector.build ADD COLUMN noted_from bigint NOT NULL DEFAULT 9223372036854775807;
