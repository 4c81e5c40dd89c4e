-- Exports of an organisation's data: who asked for what, how far the job is, and the file in sealed pieces. Nodes share
-- nothing but the database, so the file lies here.

CREATE TABLE exports (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    -- 'csv' or 'json'.
    format          TEXT    NOT NULL,
    -- The names of parts, with spaces between.
    parts           TEXT    NOT NULL,
    -- Days as typed, for usage and the audit log; empty for no limit.
    first_day       TEXT    NOT NULL,
    last_day        TEXT    NOT NULL,
    -- 'waiting', 'running', 'ready' or 'failed'.
    state           TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    created_by      TEXT    NOT NULL,
    -- How often it was begun; who writes it now, and until when nobody else may.
    tries           BIGINT  NOT NULL,
    lease           TEXT,
    leased_until    BIGINT  NOT NULL,
    -- JSON: for each part its name, the rows that are written and those that there were at the beginning.
    progress        TEXT    NOT NULL,
    -- Why it failed, for people.
    failure         TEXT,
    finished_at     BIGINT,
    -- When row and file go.
    expires_at      BIGINT  NOT NULL,
    -- Of the file: bytes, pieces, SHA-256 in hexadecimal.
    size            BIGINT  NOT NULL,
    chunks          BIGINT  NOT NULL,
    sha256          TEXT    NOT NULL
);
CREATE INDEX exports_org_id ON exports (org_id, created_at);
-- One at a time.
CREATE UNIQUE INDEX exports_open ON exports (org_id) WHERE state IN ('waiting', 'running');
CREATE INDEX exports_expires_at ON exports (expires_at);

CREATE TABLE export_chunks (
    export_id       TEXT    NOT NULL REFERENCES exports (id) ON DELETE CASCADE,
    number          BIGINT  NOT NULL,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    sealed          BLOB    NOT NULL,
    PRIMARY KEY (export_id, number)
);
CREATE INDEX export_chunks_org_id ON export_chunks (org_id);
