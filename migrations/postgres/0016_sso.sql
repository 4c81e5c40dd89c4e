-- Logging in to the dashboard at an OpenID provider of the organisation's own: one at most.
CREATE TABLE sso_providers (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL UNIQUE REFERENCES orgs (id) ON DELETE CASCADE,
    issuer          TEXT    NOT NULL,
    client_id       TEXT    NOT NULL,
    -- NULL is a client without a secret.
    secret_sealed   BYTEA,
    -- JSON: what the provider said about itself, and when.
    server          TEXT    NOT NULL,
    discovered_at   BIGINT  NOT NULL,
    -- Whether people may log in with it, and whether members other than owners have to.
    enabled         BOOLEAN NOT NULL,
    required        BOOLEAN NOT NULL,
    -- What somebody becomes who comes for the first time; NULL lets in only who was invited.
    default_role    TEXT,
    -- JSON: what came of the last test; and whether one went well since issuer or client changed.
    tested          TEXT,
    test_passed     BOOLEAN NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    updated_by      TEXT    NOT NULL
);

-- The domains of addresses whose people come by it.
CREATE TABLE sso_domains (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    -- Lower case, ASCII.
    domain          TEXT    NOT NULL,
    -- What a TXT record has to hold.
    token           TEXT    NOT NULL,
    verified_at     BIGINT,
    created_at      BIGINT  NOT NULL,
    UNIQUE (org_id, domain)
);
-- One organisation at most has a domain.
CREATE UNIQUE INDEX sso_domains_verified ON sso_domains (domain) WHERE verified_at IS NOT NULL;

-- Who is who: the same person at another issuer, or in another organisation, is somebody else.
CREATE TABLE sso_identities (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    issuer          TEXT    NOT NULL,
    subject         TEXT    NOT NULL,
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at      BIGINT  NOT NULL,
    last_used_at    BIGINT  NOT NULL,
    PRIMARY KEY (org_id, issuer, subject)
);
CREATE INDEX sso_identities_user_id ON sso_identities (user_id);

-- Somebody who was sent to a provider and has not come back yet.
CREATE TABLE sso_attempts (
    -- SHA-256 of `state`.
    state_hash      BYTEA NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    -- SHA-256 of what the browser that began it has in a cookie.
    browser_hash    BYTEA NOT NULL,
    -- Who tries it out; NULL when somebody logs in.
    tester          TEXT    REFERENCES users (id) ON DELETE CASCADE,
    issuer          TEXT    NOT NULL,
    client_id       TEXT    NOT NULL,
    -- The nonce and the verifier of PKCE.
    secrets_sealed  BYTEA NOT NULL,
    -- Where the person goes afterwards.
    next            TEXT    NOT NULL,
    expires_at      BIGINT  NOT NULL
);
CREATE INDEX sso_attempts_org_id ON sso_attempts (org_id);
CREATE INDEX sso_attempts_expires_at ON sso_attempts (expires_at);

-- By whose provider a session was begun: it opens that organisation alone. The same for a log-in that waits.
ALTER TABLE sessions ADD COLUMN sso_org TEXT REFERENCES orgs (id) ON DELETE CASCADE;
ALTER TABLE sign_in_steps ADD COLUMN sso_org TEXT REFERENCES orgs (id) ON DELETE CASCADE;
CREATE INDEX sessions_sso_org ON sessions (sso_org);
