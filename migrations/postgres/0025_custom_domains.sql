-- The host name of its own that an organisation's endpoint answers on: one at most.
CREATE TABLE custom_domains (
    org_id          TEXT    NOT NULL PRIMARY KEY REFERENCES orgs (id) ON DELETE CASCADE,
    -- Lower case, ASCII.
    host            TEXT    NOT NULL,
    -- What a TXT record has to hold; another one for each claim.
    token           TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    -- Since when its records are looked for, as long as they are not there.
    sought_since    BIGINT  NOT NULL,
    -- Since when it is in use; NULL while it is not.
    verified_at     BIGINT,
    -- Since when its records are missing although it is in use.
    failing_since   BIGINT,
    -- When it was taken out of use because they had been missing for too long.
    lapsed_at       BIGINT,
    -- When it is looked at next; NULL when nobody looks by themself any more. Whoever looks moves it on first.
    next_check_at   BIGINT,
    -- JSON: what the name server said last.
    seen            TEXT
);
-- One organisation at most has a host.
CREATE UNIQUE INDEX custom_domains_verified ON custom_domains (host) WHERE verified_at IS NOT NULL;
CREATE INDEX custom_domains_next_check_at ON custom_domains (next_check_at) WHERE next_check_at IS NOT NULL;
