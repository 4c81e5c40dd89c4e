-- Mails on their way, invitations, one-time links of accounts; what becomes of sessions and of the names of people who
-- are gone.

-- When the person proved that the address is theirs.
ALTER TABLE users ADD COLUMN email_verified_at BIGINT;

-- A mail that has to be sent. It goes with the change that it is about, so neither is without the other.
CREATE TABLE mails (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    REFERENCES orgs (id) ON DELETE CASCADE,
    -- The invitation that it brings, whose list says whether it has left.
    invitation_id   TEXT,
    -- The letter, or what it is to be made of. Sealed: it may hold a link that opens something.
    sealed          BYTEA    NOT NULL,
    attempts        BIGINT  NOT NULL,
    -- When it is to be tried next; also the lease of whoever tries it now.
    due_at          BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL,
    created_at      BIGINT  NOT NULL
);
CREATE INDEX mails_due_at ON mails (due_at);
CREATE INDEX mails_org_id ON mails (org_id);

CREATE TABLE invitations (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    email           TEXT    NOT NULL,
    email_key       TEXT    NOT NULL,
    role            TEXT    NOT NULL,
    -- SHA-256 of the link's token. A new link replaces the one before.
    token_hash      BYTEA    NOT NULL UNIQUE,
    -- NULL is the operator, or somebody who is gone.
    invited_by      TEXT    REFERENCES users (id) ON DELETE SET NULL,
    inviter_name    TEXT    NOT NULL,
    -- 'link' (handed over by hand), 'queued', 'sent' or 'failed'.
    mail            TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL,
    -- 'open', 'accepted', 'declined' or 'withdrawn', and since when.
    state           TEXT    NOT NULL,
    state_at        BIGINT  NOT NULL
);
CREATE INDEX invitations_org_id ON invitations (org_id, created_at);
CREATE UNIQUE INDEX invitations_open ON invitations (org_id, email_key) WHERE state = 'open';

-- Links that a person got by e-mail and uses once. At most one of a kind for each address.
CREATE TABLE account_links (
    -- SHA-256 of the token.
    token_hash      BYTEA    NOT NULL PRIMARY KEY,
    -- 'reset', 'verify', 'email' (to a new address) or 'sign_up'.
    kind            TEXT    NOT NULL,
    user_id         TEXT    REFERENCES users (id) ON DELETE CASCADE,
    -- The address that it was sent to.
    email           TEXT    NOT NULL,
    email_key       TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    expires_at      BIGINT  NOT NULL
);
CREATE INDEX account_links_user_id ON account_links (user_id, kind);
CREATE INDEX account_links_email_key ON account_links (email_key, kind);

-- Since when the operator keeps the organisation from working.
ALTER TABLE orgs ADD COLUMN suspended_at BIGINT;

-- Which organisation the session shows: who is removed from it loses the sessions that show it.
ALTER TABLE sessions ADD COLUMN in_view TEXT REFERENCES orgs (id) ON DELETE SET NULL;
-- Whether its next request gets a new identifier: the rights of its person have changed.
ALTER TABLE sessions ADD COLUMN renew BOOLEAN NOT NULL DEFAULT FALSE;

-- People who deleted their account, until their names are out of the log. Sealed: what has to be found there.
CREATE TABLE erasures (
    user_id         TEXT    NOT NULL PRIMARY KEY,
    sealed          BYTEA   NOT NULL,
    created_at      BIGINT  NOT NULL
);

-- The digest of an event from which a person's name and address were erased, and a code over what is left: the chain is
-- made of digests and stays whole.
ALTER TABLE audit_events ADD COLUMN erased_digest BYTEA;
ALTER TABLE audit_events ADD COLUMN erased_tag BYTEA;
CREATE OR REPLACE FUNCTION audit_events_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.mac IS NULL THEN
        RETURN NEW;
    END IF;
    IF EXISTS (SELECT 1 FROM audit_clearances WHERE chain = COALESCE(OLD.org_id, 'instance')) THEN
        IF TG_OP = 'DELETE' THEN
            RETURN OLD;
        END IF;
        IF NEW.erased_digest IS NOT NULL AND NEW.erased_tag IS NOT NULL
            AND (OLD.erased_digest IS NULL OR NEW.erased_digest = OLD.erased_digest)
            AND NEW.id = OLD.id AND NEW.org_id IS NOT DISTINCT FROM OLD.org_id AND NEW.seq = OLD.seq
            AND NEW.mac = OLD.mac AND NEW.occurred_at = OLD.occurred_at AND NEW.action = OLD.action
            AND NEW.category = OLD.category AND NEW.result = OLD.result AND NEW.actor_kind = OLD.actor_kind
            AND NEW.actor_id = OLD.actor_id THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'audit events are never changed or removed by themselves';
END
$$;
