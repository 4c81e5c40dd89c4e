-- How connectors authenticate themselves to their servers with OAuth. Times are Unix milliseconds.

-- What a connector's server wants, and as which client Gatehouse comes. Connectors without a row send static headers.
CREATE TABLE connector_oauth (
    connector_id    TEXT    NOT NULL PRIMARY KEY REFERENCES connectors (id) ON DELETE CASCADE,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    -- 'client_credentials', 'authorization_code' or 'per_user'.
    kind            TEXT    NOT NULL,
    -- The authorization server; everything below belongs to it and is never shown to another (SSR-10).
    issuer          TEXT    NOT NULL,
    -- JSON: its endpoints and what it can do, as it said when it was last asked.
    server          TEXT    NOT NULL,
    -- What access is asked for (RFC 8707).
    resource        TEXT    NOT NULL,
    -- The scope that somebody typed; empty to ask for what the server names.
    scope           TEXT    NOT NULL,
    -- What the server has asked for beyond that.
    scope_wanted    TEXT    NOT NULL,
    -- 'typed', 'document' or 'registered'; empty while there is no client yet.
    client_source   TEXT    NOT NULL,
    client_id       TEXT    NOT NULL,
    client_secret_sealed BLOB,
    auth_method     TEXT    NOT NULL,
    -- When a registered secret ends, if it does.
    secret_expires_at BIGINT,
    set_at          BIGINT  NOT NULL,
    set_by          TEXT    NOT NULL
);
CREATE INDEX connector_oauth_org_id ON connector_oauth (org_id);

-- What was given: one for the organisation, or one for each member who authorised theirs.
CREATE TABLE upstream_authorizations (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    connector_id    TEXT    NOT NULL REFERENCES connectors (id) ON DELETE CASCADE,
    -- NULL for the organisation's own.
    user_id         TEXT    REFERENCES users (id) ON DELETE CASCADE,
    issuer          TEXT    NOT NULL,
    resource        TEXT    NOT NULL,
    scope           TEXT    NOT NULL,
    -- JSON: access token, refresh token.
    tokens_sealed   BLOB NOT NULL,
    -- When the access token was issued and when it ends, if that was said.
    issued_at       BIGINT  NOT NULL,
    expires_at      BIGINT,
    refreshable     BOOLEAN NOT NULL,
    -- Raised whenever the tokens are replaced.
    generation      BIGINT  NOT NULL,
    -- Who is renewing the tokens just now, and until when nobody else does.
    lease           TEXT,
    lease_until     BIGINT,
    -- When it stopped working for good, and why.
    lost_at         BIGINT,
    lost_reason     TEXT,
    authorized_at   BIGINT  NOT NULL,
    authorized_by   TEXT    NOT NULL,
    -- A member who leaves takes theirs along.
    FOREIGN KEY (org_id, user_id) REFERENCES members (org_id, user_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX upstream_authorizations_owner ON upstream_authorizations (connector_id, (COALESCE(user_id, '')));
CREATE INDEX upstream_authorizations_org_id ON upstream_authorizations (org_id, user_id);
CREATE INDEX upstream_authorizations_user_id ON upstream_authorizations (user_id);

-- Somebody who was sent to an authorization server and has not come back yet.
CREATE TABLE upstream_attempts (
    -- SHA-256 of `state`.
    state_hash      BLOB NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    connector_id    TEXT    NOT NULL REFERENCES connectors (id) ON DELETE CASCADE,
    -- The public id of the session that began it, and whose that is.
    session_id      TEXT    NOT NULL,
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Whether it is for this person alone.
    personal        BOOLEAN NOT NULL,
    issuer          TEXT    NOT NULL,
    client_id       TEXT    NOT NULL,
    scope           TEXT    NOT NULL,
    -- The PKCE verifier.
    verifier_sealed BLOB NOT NULL,
    created_at      BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL
);
CREATE INDEX upstream_attempts_org_id ON upstream_attempts (org_id);
CREATE INDEX upstream_attempts_connector_id ON upstream_attempts (connector_id);
CREATE INDEX upstream_attempts_user_id ON upstream_attempts (user_id);
CREATE INDEX upstream_attempts_expires_at ON upstream_attempts (expires_at);
