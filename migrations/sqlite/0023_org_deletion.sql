-- The end of an organisation: at once nothing of it works any more, its rows go in portions, its row at last.

-- Since when it is on its way out, Unix milliseconds; NULL for all that live.
ALTER TABLE orgs ADD COLUMN deleted_at BIGINT;
CREATE INDEX orgs_deleted_at ON orgs (deleted_at) WHERE deleted_at IS NOT NULL;

-- Of a slug whose organisation was deleted: the SHA-256 of that organisation's id, in hexadecimal, and who did it, by id.
ALTER TABLE slug_tombstones ADD COLUMN org_digest TEXT;
ALTER TABLE slug_tombstones ADD COLUMN buried_by TEXT;
