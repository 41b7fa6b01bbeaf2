-- Rows in which this column is true do not count; NULL: all count.
ALTER TABLE projector.feed ADD COLUMN unless_column text COLLATE "C";
