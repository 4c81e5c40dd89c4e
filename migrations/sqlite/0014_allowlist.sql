-- The addresses that an organisation may be reached from; without a row from everywhere.
CREATE TABLE allowlists (
    org_id          TEXT    NOT NULL PRIMARY KEY REFERENCES orgs (id) ON DELETE CASCADE,
    -- JSON: whether it is enforced, and the ranges with their notes.
    entries         TEXT    NOT NULL,
    -- What counts again from `revert_at` on, Unix milliseconds, unless somebody keeps the change before.
    entries_before  TEXT,
    revert_at       BIGINT
);
