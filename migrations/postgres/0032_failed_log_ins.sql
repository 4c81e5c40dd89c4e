-- A log-in that waits for its second step knows how many failed before it: its person is told once it is over (PWD-10).
ALTER TABLE sign_in_steps ADD COLUMN failures BIGINT NOT NULL DEFAULT 0;
