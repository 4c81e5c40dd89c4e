-- The authorization server: signing keys, clients, requests, codes, connections, refresh tokens, revocations; the
-- organisations' own identity providers; and what was seen of attempts to connect.

-- How long a connection lasts from consent, in days: 1, 7, 30 or 90.
ALTER TABLE orgs ADD COLUMN refresh_days BIGINT NOT NULL DEFAULT 30;
-- What the replay of a rotated refresh token does: 'revoke' the whole grant, or 'reject' that request alone.
ALTER TABLE orgs ADD COLUMN reuse_policy TEXT NOT NULL DEFAULT 'revoke';
-- Whether clients that nobody of the organisation registered may be given access by its members.
ALTER TABLE orgs ADD COLUMN open_clients BOOLEAN NOT NULL DEFAULT TRUE;

CREATE TABLE signing_keys (
    -- RFC 7638 thumbprint.
    kid             TEXT    NOT NULL PRIMARY KEY,
    -- PKCS #8, sealed by the instance's master key.
    private_sealed  BLOB    NOT NULL,
    -- The public key as a JWK (JSON).
    public_jwk      TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    -- From when it signs: published before, so that every cache knows it in time.
    active_from     BIGINT  NOT NULL,
    -- Until when it is published and accepted, once a newer one signs.
    retire_at       BIGINT,
    -- Removed in an emergency: not accepted any more.
    removed_at      BIGINT
);

CREATE TABLE oauth_clients (
    -- gth_client_…, or the https URL of a client-id metadata document.
    id              TEXT    NOT NULL PRIMARY KEY,
    -- NULL for clients that registered themselves: they belong to nobody.
    org_id          TEXT    REFERENCES orgs (id) ON DELETE CASCADE,
    -- 'machine', 'code', 'registered' or 'document'.
    kind            TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    -- JSON array of strings.
    redirect_uris   TEXT    NOT NULL,
    auth_method     TEXT    NOT NULL,
    -- The scopes it may ask for, separated by spaces.
    scope           TEXT    NOT NULL,
    -- JSON: what else it says about itself.
    metadata        TEXT    NOT NULL,
    -- SHA-256 of the registration access token (RFC 7592).
    management_hash BLOB,
    -- Until when the fetched document counts as fresh.
    fresh_until     BIGINT,
    created_at      BIGINT  NOT NULL,
    -- The name of the member who made it; the address that registered it.
    created_by      TEXT    NOT NULL,
    updated_at      BIGINT  NOT NULL,
    last_used_at    BIGINT
);
CREATE INDEX oauth_clients_org_id ON oauth_clients (org_id, created_at);
CREATE INDEX oauth_clients_kind ON oauth_clients (kind, created_at);

CREATE TABLE oauth_client_secrets (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    REFERENCES orgs (id) ON DELETE CASCADE,
    client_id       TEXT    NOT NULL REFERENCES oauth_clients (id) ON DELETE CASCADE,
    -- SHA-256 of the secret.
    hash            BLOB    NOT NULL UNIQUE,
    last4           TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    created_by      TEXT    NOT NULL,
    -- The end of the overlap, once a newer one was made.
    expires_at      BIGINT,
    last_used_at    BIGINT
);
CREATE INDEX oauth_client_secrets_client_id ON oauth_client_secrets (client_id);
CREATE INDEX oauth_client_secrets_org_id ON oauth_client_secrets (org_id);

-- What a client asked for, from the first look at the consent page to the decision.
CREATE TABLE authorization_requests (
    -- SHA-256 of the value in the consent page's address.
    token_hash      BLOB    NOT NULL PRIMARY KEY,
    -- The public id of the session that may decide.
    session_id      TEXT    NOT NULL,
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id       TEXT    NOT NULL,
    -- JSON: redirect_uri, state, scope, code_challenge, resource.
    params          TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL
);
CREATE INDEX authorization_requests_user_id ON authorization_requests (user_id);
CREATE INDEX authorization_requests_expires_at ON authorization_requests (expires_at);

-- One user's authorisation of one client for one organisation. Revoked ones stay, to be seen.
CREATE TABLE connections (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    user_id         TEXT    REFERENCES users (id) ON DELETE SET NULL,
    -- As it was at consent, for when the account is gone.
    user_email      TEXT    NOT NULL,
    client_id       TEXT    NOT NULL,
    -- As it was at consent, for when the client is gone.
    client_name     TEXT    NOT NULL,
    client_kind     TEXT    NOT NULL,
    redirect_host   TEXT    NOT NULL,
    scope           TEXT    NOT NULL,
    -- Its own key: the public id, which access tokens name, and what may be shown of it.
    key_id          TEXT    NOT NULL UNIQUE,
    key_hash        BLOB    NOT NULL UNIQUE,
    key_prefix      TEXT    NOT NULL,
    key_made_at     BIGINT  NOT NULL,
    created_at      BIGINT  NOT NULL,
    created_address TEXT    NOT NULL,
    created_agent   TEXT    NOT NULL,
    -- The end of its newest grant.
    expires_at      BIGINT  NOT NULL,
    -- When an access token was last refreshed.
    last_token_at   BIGINT,
    last_used_at    BIGINT,
    last_used_address TEXT,
    last_used_agent TEXT,
    revoked_at      BIGINT,
    revoked_by      TEXT,
    revoked_reason  TEXT
);
CREATE INDEX connections_org_id ON connections (org_id, created_at);
CREATE INDEX connections_user_id ON connections (user_id);
CREATE INDEX connections_client_id ON connections (client_id);

-- One completed flow of a connection: the family of its refresh tokens.
CREATE TABLE oauth_grants (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    connection_id   TEXT    NOT NULL REFERENCES connections (id) ON DELETE CASCADE,
    client_id       TEXT    NOT NULL,
    scope           TEXT    NOT NULL,
    resource        TEXT    NOT NULL,
    -- Raised by each rotation; the first refresh token is of generation 1.
    generation      BIGINT  NOT NULL,
    rotated_at      BIGINT,
    -- How often the predecessor was presented again since.
    repeats         BIGINT  NOT NULL,
    -- The newest generation of which any token was used.
    used_generation BIGINT  NOT NULL,
    created_at      BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL,
    revoked_at      BIGINT,
    revoked_reason  TEXT
);
CREATE INDEX oauth_grants_org_id ON oauth_grants (org_id);
CREATE INDEX oauth_grants_connection_id ON oauth_grants (connection_id);
CREATE INDEX oauth_grants_client_id ON oauth_grants (client_id);

-- Every refresh token of a grant, so that an old one is known for what it is.
CREATE TABLE refresh_tokens (
    -- SHA-256 of the token.
    hash            BLOB    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    grant_id        TEXT    NOT NULL REFERENCES oauth_grants (id) ON DELETE CASCADE,
    generation      BIGINT  NOT NULL,
    created_at      BIGINT  NOT NULL
);
CREATE INDEX refresh_tokens_grant_id ON refresh_tokens (grant_id, generation);
CREATE INDEX refresh_tokens_org_id ON refresh_tokens (org_id);

CREATE TABLE oauth_codes (
    -- SHA-256 of the code.
    hash            BLOB    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id       TEXT    NOT NULL,
    redirect_uri    TEXT    NOT NULL,
    code_challenge  TEXT    NOT NULL,
    scope           TEXT    NOT NULL,
    resource        TEXT    NOT NULL,
    session_id      TEXT    NOT NULL,
    address         TEXT    NOT NULL,
    user_agent      TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL,
    -- When it was presented, well or badly; and what it brought.
    used_at         BIGINT,
    grant_id        TEXT    REFERENCES oauth_grants (id) ON DELETE SET NULL
);
CREATE INDEX oauth_codes_org_id ON oauth_codes (org_id);
CREATE INDEX oauth_codes_user_id ON oauth_codes (user_id);
CREATE INDEX oauth_codes_expires_at ON oauth_codes (expires_at);
CREATE INDEX oauth_codes_grant_id ON oauth_codes (grant_id);

-- Access tokens that were revoked one by one (RFC 7009), until they expire.
CREATE TABLE revoked_tokens (
    jti             TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    expires_at      BIGINT  NOT NULL
);
CREATE INDEX revoked_tokens_org_id ON revoked_tokens (org_id);
CREATE INDEX revoked_tokens_expires_at ON revoked_tokens (expires_at);

-- The organisation's own identity provider for its MCP endpoint.
CREATE TABLE identity_providers (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL UNIQUE REFERENCES orgs (id) ON DELETE CASCADE,
    issuer          TEXT    NOT NULL,
    jwks_uri        TEXT    NOT NULL,
    audience        TEXT    NOT NULL,
    enabled         BOOLEAN NOT NULL,
    -- JSON: claims that must have one of these values, the scope that must be there, whether ID tokens pass.
    rules           TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    updated_by      TEXT    NOT NULL,
    UNIQUE (issuer, audience)
);

-- Single steps of clients on their way to a connection, for the connection doctor.
CREATE TABLE connect_events (
    id              TEXT    NOT NULL PRIMARY KEY,
    -- NULL for steps that name no organisation: server metadata and registration.
    org_id          TEXT    REFERENCES orgs (id) ON DELETE CASCADE,
    at              BIGINT  NOT NULL,
    step            TEXT    NOT NULL,
    -- An error code, or NULL when the step went well.
    error           TEXT,
    detail          TEXT    NOT NULL,
    client_id       TEXT,
    client_name     TEXT,
    address         TEXT    NOT NULL,
    user_agent      TEXT    NOT NULL
);
CREATE INDEX connect_events_org_id ON connect_events (org_id, at);
CREATE INDEX connect_events_at ON connect_events (at);
CREATE INDEX connect_events_client_id ON connect_events (client_id);
