-- The schema of the tables: told of what is kept event by event, which shares none with others.
ALTER TABLE projector.checkpoint ADD COLUMN table_schema text COLLATE "C";
