-- How long a connector's server may take to begin an answer, seconds; nothing means as long as others.
ALTER TABLE connectors ADD COLUMN first_byte_seconds BIGINT;
