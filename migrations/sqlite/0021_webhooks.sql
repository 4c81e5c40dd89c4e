-- Webhooks: where organisations want to hear of events, and what became of each event on its way there.

CREATE TABLE webhooks (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    -- Without its query, which often holds a key and is sealed.
    url             TEXT    NOT NULL,
    query_sealed    BLOB,
    description     TEXT    NOT NULL,
    -- '*' for all events, also future ones; else their names, a space before and behind each.
    events          TEXT    NOT NULL,
    -- 'active', 'paused' or 'disabled', and since when. What it would hear of waits meanwhile.
    state           TEXT    NOT NULL,
    state_at        BIGINT  NOT NULL,
    -- Why Gatehouse disabled it: 'failing' or 'gone'.
    reason          TEXT,
    -- Since when no delivery was taken, and whether the admins were warned of that.
    failing_since   BIGINT,
    warned_at       BIGINT,
    created_at      BIGINT  NOT NULL,
    created_by      TEXT    NOT NULL,
    updated_at      BIGINT  NOT NULL
);
CREATE INDEX webhooks_org_id ON webhooks (org_id, created_at);

-- What deliveries are signed with. More than one for a day after a rotation.
CREATE TABLE webhook_secrets (
    webhook_id      TEXT    NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    number          BIGINT  NOT NULL,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    sealed          BLOB    NOT NULL,
    created_at      BIGINT  NOT NULL,
    created_by      TEXT    NOT NULL,
    expires_at      BIGINT,
    PRIMARY KEY (webhook_id, number)
);
CREATE INDEX webhook_secrets_org_id ON webhook_secrets (org_id);

-- One event on its way to one webhook; written with the event.
CREATE TABLE webhook_deliveries (
    webhook_id      TEXT    NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    outbox_id       TEXT    NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    event           TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    -- 'pending', 'delivered', 'failed' or 'skipped'.
    state           TEXT    NOT NULL,
    -- What the next attempt is for: 'event', 'replay' or 'test'.
    cause           TEXT    NOT NULL,
    -- Attempts that failed since the event, or since its replay.
    tries           BIGINT  NOT NULL,
    -- Attempts in all.
    attempts        BIGINT  NOT NULL,
    -- When it is to be tried next; while somebody tries, until when they have it for themself.
    due_at          BIGINT,
    lease           TEXT,
    -- What came of the last attempt.
    tried_at        BIGINT,
    took            BIGINT,
    status          BIGINT,
    error           TEXT,
    PRIMARY KEY (webhook_id, outbox_id)
);
CREATE INDEX webhook_deliveries_org_id ON webhook_deliveries (org_id);
CREATE INDEX webhook_deliveries_outbox_id ON webhook_deliveries (outbox_id);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (webhook_id, due_at, outbox_id) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_leased ON webhook_deliveries (webhook_id, due_at) WHERE lease IS NOT NULL;

CREATE TABLE webhook_attempts (
    webhook_id      TEXT    NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    outbox_id       TEXT    NOT NULL REFERENCES outbox (id) ON DELETE CASCADE,
    number          BIGINT  NOT NULL,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    -- 'event', 'retry', 'replay' or 'test'.
    cause           TEXT    NOT NULL,
    started_at      BIGINT  NOT NULL,
    -- Milliseconds.
    took            BIGINT  NOT NULL,
    delivered       BOOLEAN NOT NULL,
    status          BIGINT,
    -- A class of network errors, if there was no answer.
    error           TEXT,
    -- Of the answer: JSON pairs, and the beginning of the body.
    headers         TEXT    NOT NULL,
    body            TEXT    NOT NULL,
    cut             BOOLEAN NOT NULL,
    PRIMARY KEY (webhook_id, outbox_id, number)
);
CREATE INDEX webhook_attempts_org_id ON webhook_attempts (org_id);
CREATE INDEX webhook_attempts_outbox_id ON webhook_attempts (outbox_id);
CREATE INDEX webhook_attempts_started_at ON webhook_attempts (webhook_id, started_at);

CREATE INDEX outbox_created_at ON outbox (created_at);
