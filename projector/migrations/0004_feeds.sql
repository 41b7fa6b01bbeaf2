-- Which counters the rows of a projection move. Data, not only declaration: so every daemon,
-- whatever its program, feeds an aggregate that is being built. Changed only together with
-- checkpoint.edits of the projection, which tells its writer to read this again.
CREATE TABLE projector.feed (
    projection text COLLATE "C" NOT NULL,
    aggregate text COLLATE "C" NOT NULL,
    counter text COLLATE "C" NOT NULL,
    by_column text COLLATE "C" NOT NULL,
    PRIMARY KEY (projection, aggregate, counter)
);
