-- Second factors, the steps of a log-in that wait for one, and PINs.

-- The authenticator app of a person.
CREATE TABLE totp_factors (
    user_id         TEXT    NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret_sealed   BLOB    NOT NULL,
    -- The latest step of thirty seconds whose code was taken: each is taken once, and none before it.
    last_step       BIGINT  NOT NULL,
    last_used_at    BIGINT,
    created_at      BIGINT  NOT NULL
);

-- One that is being set up: it counts for nothing before a code of it was shown.
CREATE TABLE totp_enrolments (
    user_id         TEXT    NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret_sealed   BLOB    NOT NULL,
    created_at      BIGINT  NOT NULL
);

-- Codes for when there is no other factor at hand. Each opens once.
CREATE TABLE backup_codes (
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    position        BIGINT  NOT NULL,
    hash            TEXT    NOT NULL,
    used_at         BIGINT,
    PRIMARY KEY (user_id, position)
);

-- Log-ins whose password was right and that wait for the second factor.
CREATE TABLE sign_in_steps (
    -- SHA-256 of the cookie's value.
    token_hash      BLOB    NOT NULL PRIMARY KEY,
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Codes that were looked at.
    attempts        BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL
);
CREATE INDEX sign_in_steps_user_id ON sign_in_steps (user_id);
CREATE INDEX sign_in_steps_expires_at ON sign_in_steps (expires_at);

-- When the person behind a session showed last who they are; NULL is when it began.
ALTER TABLE sessions ADD COLUMN proved_at BIGINT;

-- Whether its members need a second factor, and whether some acts ask for a PIN.
ALTER TABLE orgs ADD COLUMN require_mfa BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE orgs ADD COLUMN pin_protection BOOLEAN NOT NULL DEFAULT FALSE;

-- A member's PIN in one organisation.
CREATE TABLE member_pins (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash            TEXT    NOT NULL,
    -- Wrong ones in a row, and until when none is looked at.
    failures        BIGINT  NOT NULL,
    locked_until    BIGINT  NOT NULL,
    -- Wrong ones since this time, which moves on by a day.
    day_start       BIGINT  NOT NULL,
    day_failures    BIGINT  NOT NULL,
    set_at          BIGINT  NOT NULL,
    PRIMARY KEY (org_id, user_id)
);
CREATE INDEX member_pins_user_id ON member_pins (user_id);
