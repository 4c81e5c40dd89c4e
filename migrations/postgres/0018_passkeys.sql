-- Passkeys (WebAuthn), and browsers that are trusted to skip the second step of a log-in.

CREATE TABLE passkeys (
    id              TEXT    NOT NULL PRIMARY KEY,
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- What the authenticator calls it. It belongs to one person.
    credential_id   BYTEA   NOT NULL UNIQUE,
    -- JSON: the public key, the counter, and what the authenticator said of itself.
    credential      TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    last_used_at    BIGINT
);
CREATE INDEX passkeys_user_id ON passkeys (user_id);

-- Challenges that were given out: each is answered once, in minutes, by the browser that got it.
CREATE TABLE passkey_challenges (
    challenge_hash  BYTEA   NOT NULL PRIMARY KEY,
    -- SHA-256 of what it was given to: a browser before its log-in, a log-in that waits, or a session; and what for.
    binding_hash    BYTEA   NOT NULL,
    -- Whose passkey may answer; NULL is anybody's.
    user_id         TEXT    REFERENCES users (id) ON DELETE CASCADE,
    -- JSON: what the answer is held against.
    state           TEXT    NOT NULL,
    expires_at      BIGINT  NOT NULL
);
CREATE INDEX passkey_challenges_user_id ON passkey_challenges (user_id);
CREATE INDEX passkey_challenges_expires_at ON passkey_challenges (expires_at);

-- Browsers whose person asked not to be asked for the second factor there for some weeks.
CREATE TABLE trusted_browsers (
    id              TEXT    NOT NULL PRIMARY KEY,
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- SHA-256 of the cookie's value.
    token_hash      BYTEA   NOT NULL UNIQUE,
    address         TEXT    NOT NULL,
    user_agent      TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    last_used_at    BIGINT,
    expires_at      BIGINT  NOT NULL
);
CREATE INDEX trusted_browsers_user_id ON trusted_browsers (user_id);
CREATE INDEX trusted_browsers_expires_at ON trusted_browsers (expires_at);

-- Whether an organisation that requires a second factor lets its members trust a browser.
ALTER TABLE orgs ADD COLUMN trusted_browsers BOOLEAN NOT NULL DEFAULT FALSE;

-- When somebody whose link had become too old asked for another.
ALTER TABLE invitations ADD COLUMN asked_at BIGINT;
