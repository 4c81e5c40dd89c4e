-- Whose address is told when an export is ready. NULL when no person asked for it, or when they are gone.
ALTER TABLE exports ADD COLUMN asked_by TEXT REFERENCES users (id) ON DELETE SET NULL;
CREATE INDEX exports_asked_by ON exports (asked_by) WHERE asked_by IS NOT NULL;
