-- How the servers of connectors are looked after.

-- When a connector is checked next, Unix milliseconds: put off by whoever checks it, before asking, so that several
-- processes ask once.
ALTER TABLE connectors ADD COLUMN check_at BIGINT NOT NULL DEFAULT 0;

-- What checks found, half an hour at a time.
CREATE TABLE connector_health (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    connector_id    TEXT    NOT NULL REFERENCES connectors (id) ON DELETE CASCADE,
    -- The beginning of the half hour, Unix milliseconds.
    began_at        BIGINT  NOT NULL,
    good            BIGINT  NOT NULL,
    failed          BIGINT  NOT NULL,
    -- Milliseconds that the good checks took, altogether.
    took            BIGINT  NOT NULL,
    -- Why the last failed one did.
    error           TEXT,
    PRIMARY KEY (connector_id, began_at)
);
CREATE INDEX connector_health_org_id ON connector_health (org_id);
CREATE INDEX connector_health_began_at ON connector_health (began_at);
