-- Which child table of the projection has the rows that are counted; NULL: its own table.
ALTER TABLE projector.feed ADD COLUMN child text COLLATE "C";
