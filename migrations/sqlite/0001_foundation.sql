-- Accounts, organisations, connectors, API keys, audit events and the outbox.
-- Times are Unix milliseconds, ids their prefixed text. Every org_id cascades from its organisation.

CREATE TABLE orgs (
    id              TEXT    NOT NULL PRIMARY KEY,
    slug            TEXT    NOT NULL UNIQUE,
    name            TEXT    NOT NULL,
    description     TEXT    NOT NULL,
    plan            TEXT    NOT NULL,
    key_visibility  TEXT    NOT NULL,
    url_keys        BOOLEAN NOT NULL,
    -- The organisation's data key, wrapped by the instance's master key.
    data_key        BLOB    NOT NULL,
    -- Raised by every change; the sequence of the audit log, and how other processes notice.
    version         BIGINT  NOT NULL,
    changed_at      BIGINT  NOT NULL,
    onboarding_dismissed_at BIGINT,
    created_at      BIGINT  NOT NULL
);
CREATE INDEX orgs_changed_at ON orgs (changed_at);

-- A slug that was ever used is never issued again. No foreign key: it outlives its organisation.
CREATE TABLE slug_tombstones (
    slug            TEXT    NOT NULL PRIMARY KEY,
    buried_at       BIGINT  NOT NULL
);

CREATE TABLE users (
    id              TEXT    NOT NULL PRIMARY KEY,
    email           TEXT    NOT NULL,
    -- The address in lower case: what makes two accounts the same.
    email_key       TEXT    NOT NULL UNIQUE,
    name            TEXT    NOT NULL,
    password_hash   TEXT    NOT NULL,
    -- The organisation that a new session opens.
    last_org_id     TEXT    REFERENCES orgs (id) ON DELETE SET NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL
);

CREATE TABLE members (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role            TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX members_user_id ON members (user_id);

CREATE TABLE sessions (
    -- SHA-256 of the cookie's value.
    token_hash      BLOB    NOT NULL PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    user_id         TEXT    REFERENCES users (id) ON DELETE CASCADE,
    data            TEXT    NOT NULL,
    address         TEXT    NOT NULL,
    user_agent      TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    last_seen_at    BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL
);
CREATE INDEX sessions_user_id ON sessions (user_id);
CREATE INDEX sessions_expires_at ON sessions (expires_at);

-- At most one row: the link that makes the first owner.
CREATE TABLE setup_links (
    id              INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    token_hash      BLOB    NOT NULL,
    created_at      BIGINT  NOT NULL
);

-- Failures per account and per address; on disk, so that neither a restart nor a second node forgets them.
CREATE TABLE sign_in_failures (
    bucket          TEXT    NOT NULL PRIMARY KEY,
    failures        BIGINT  NOT NULL,
    window_start    BIGINT  NOT NULL,
    blocked_until   BIGINT  NOT NULL
);

CREATE TABLE connectors (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    slug            TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    description     TEXT    NOT NULL,
    transport       TEXT    NOT NULL,
    url             TEXT    NOT NULL,
    enabled         BOOLEAN NOT NULL,
    health          TEXT    NOT NULL,
    health_failures BIGINT  NOT NULL,
    health_error    TEXT,
    checked_at      BIGINT,
    protocol_version TEXT,
    server_name     TEXT,
    server_version  TEXT,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    UNIQUE (org_id, slug)
);

-- A connector's slug is the prefix of its tools' names, so it is never reused in its organisation.
CREATE TABLE connector_slugs (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    slug            TEXT    NOT NULL,
    PRIMARY KEY (org_id, slug)
);

CREATE TABLE connector_headers (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    connector_id    TEXT    NOT NULL REFERENCES connectors (id) ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    value_sealed    BLOB    NOT NULL,
    set_at          BIGINT  NOT NULL,
    set_by          TEXT    NOT NULL,
    PRIMARY KEY (connector_id, name)
);
CREATE INDEX connector_headers_org_id ON connector_headers (org_id);

CREATE TABLE connector_tools (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    connector_id    TEXT    NOT NULL REFERENCES connectors (id) ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    -- The tool as the server described it, byte for byte.
    definition      TEXT    NOT NULL,
    enabled         BOOLEAN NOT NULL,
    position        BIGINT  NOT NULL,
    PRIMARY KEY (connector_id, name)
);
CREATE INDEX connector_tools_org_id ON connector_tools (org_id);

CREATE TABLE api_keys (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    -- SHA-256 of the key.
    hash            BLOB    NOT NULL UNIQUE,
    prefix          TEXT    NOT NULL,
    last4           TEXT    NOT NULL,
    -- The key itself, sealed: only in organisations that chose copyable keys.
    sealed          BLOB,
    url_key         BOOLEAN NOT NULL,
    all_connectors  BOOLEAN NOT NULL,
    disabled_at     BIGINT,
    expires_at      BIGINT,
    last_used_at    BIGINT,
    last_used_address TEXT,
    last_used_agent TEXT,
    created_at      BIGINT  NOT NULL,
    created_by      TEXT    NOT NULL
);
CREATE INDEX api_keys_org_id ON api_keys (org_id, created_at);

CREATE TABLE api_key_connectors (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    api_key_id      TEXT    NOT NULL REFERENCES api_keys (id) ON DELETE CASCADE,
    connector_id    TEXT    NOT NULL REFERENCES connectors (id) ON DELETE CASCADE,
    PRIMARY KEY (api_key_id, connector_id)
);
CREATE INDEX api_key_connectors_org_id ON api_key_connectors (org_id);

CREATE TABLE audit_events (
    id              TEXT    NOT NULL PRIMARY KEY,
    -- NULL for events of the instance, such as a failed sign-in with an unknown address.
    org_id          TEXT    REFERENCES orgs (id) ON DELETE CASCADE,
    -- Gapless in an organisation; 0 for events of the instance.
    seq             BIGINT  NOT NULL,
    -- Unix microseconds.
    occurred_at     BIGINT  NOT NULL,
    action          TEXT    NOT NULL,
    result          TEXT    NOT NULL,
    actor_kind      TEXT    NOT NULL,
    actor_id        TEXT    NOT NULL,
    actor_name      TEXT    NOT NULL,
    -- JSON: targets, changes, metadata; context is address, user agent, request id, node.
    detail          TEXT    NOT NULL,
    context         TEXT    NOT NULL
);
CREATE INDEX audit_events_org_id ON audit_events (org_id, seq);

CREATE TABLE outbox (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    event           TEXT    NOT NULL,
    payload         TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL
);
CREATE INDEX outbox_org_id ON outbox (org_id, created_at);

-- Single facts about the instance, such as which master key its secrets are sealed with.
CREATE TABLE instance_facts (
    name            TEXT    NOT NULL PRIMARY KEY,
    value           BLOB    NOT NULL
);
