-- What a session was called before it got its present identifier, and until when that is answered still: requests that were
-- under way when it was renewed (SES-02).
ALTER TABLE sessions ADD COLUMN previous_hash BYTEA;
ALTER TABLE sessions ADD COLUMN previous_until BIGINT;
CREATE INDEX sessions_previous_hash ON sessions (previous_hash) WHERE previous_hash IS NOT NULL;
-- How its person showed who they are; NULL where an older version began it.
ALTER TABLE sessions ADD COLUMN method TEXT;

-- When the record of a proven domain was last looked for, since when it is missing, and when the domain stopped counting for
-- that.
ALTER TABLE sso_domains ADD COLUMN checked_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sso_domains ADD COLUMN missing_since BIGINT;
ALTER TABLE sso_domains ADD COLUMN lapsed_at BIGINT;
