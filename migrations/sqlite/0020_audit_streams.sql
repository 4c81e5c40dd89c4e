-- Where an organisation's audit events are streamed to, and how far they have come. What waits is the log itself.
CREATE TABLE audit_streams (
    org_id          TEXT    NOT NULL PRIMARY KEY REFERENCES orgs (id) ON DELETE CASCADE,
    -- json_lines or splunk_hec.
    kind            TEXT    NOT NULL,
    url             TEXT    NOT NULL,
    -- What it is sent with as Authorization; NULL for nothing.
    token_sealed    BLOB,
    enabled         BOOLEAN NOT NULL,
    -- The sequence number of the last event that was taken.
    cursor          BIGINT  NOT NULL,
    -- Who sends has it for themself until then, Unix milliseconds.
    leased_until    BIGINT  NOT NULL,
    -- Not before then, Unix milliseconds, and how often it failed in a row.
    due_at          BIGINT  NOT NULL,
    failures        BIGINT  NOT NULL,
    last_sent_at    BIGINT,
    last_error      TEXT,
    last_error_at   BIGINT,
    -- How many events went unsent because it was down for longer than they are kept for it.
    skipped         BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    updated_by      TEXT    NOT NULL
);
CREATE INDEX audit_streams_due ON audit_streams (enabled, due_at);
