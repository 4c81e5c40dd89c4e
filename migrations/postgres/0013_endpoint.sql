-- What a connector adds to the endpoint of its organisation beside tools.

-- What its server says about how to use it, as it said it last; NULL when it says nothing.
ALTER TABLE connectors ADD COLUMN instructions TEXT;
-- Whether its names stand there without its prefix.
ALTER TABLE connectors ADD COLUMN unprefixed BOOLEAN NOT NULL DEFAULT FALSE;
