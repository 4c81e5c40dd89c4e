-- The audit log becomes a chain per organisation, and one for the instance.
-- The code of the chain that an event belongs to; NULL only in rows of before this migration, until they are taken in.
ALTER TABLE audit_events ADD COLUMN mac BYTEA;
-- The group that the action belongs to, for filters.
ALTER TABLE audit_events ADD COLUMN category TEXT NOT NULL DEFAULT '';
DROP INDEX audit_events_org_id;
CREATE UNIQUE INDEX audit_events_seq ON audit_events (org_id, seq);
CREATE UNIQUE INDEX audit_events_instance ON audit_events (seq) WHERE org_id IS NULL AND seq > 0;
CREATE INDEX audit_events_category ON audit_events (org_id, category, seq);
CREATE INDEX audit_events_actor ON audit_events (org_id, actor_id, seq);
CREATE INDEX audit_events_actor_category ON audit_events (org_id, actor_id, category, seq);
CREATE INDEX audit_events_time ON audit_events (org_id, occurred_at, seq);

-- Where each chain ends. `chain` is the organisation's id, or 'instance'.
CREATE TABLE audit_heads (
    chain           TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    REFERENCES orgs (id) ON DELETE CASCADE,
    seq             BIGINT  NOT NULL,
    mac             BYTEA    NOT NULL,
    -- A code over this row: rows cannot be cut off at the end without it.
    tag             BYTEA    NOT NULL
);
CREATE INDEX audit_heads_org_id ON audit_heads (org_id);

-- What a chain was at some time: 'adopted' (rows of before the chain were taken in), 'hourly', 'retention' (older rows
-- were removed: the chain begins here).
CREATE TABLE audit_checkpoints (
    chain           TEXT    NOT NULL,
    org_id          TEXT    REFERENCES orgs (id) ON DELETE CASCADE,
    kind            TEXT    NOT NULL,
    seq             BIGINT  NOT NULL,
    mac             BYTEA    NOT NULL,
    at              BIGINT  NOT NULL,
    tag             BYTEA    NOT NULL,
    -- Made with the signing key `kid` of that time, for whoever keeps checkpoints elsewhere; empty when unsigned.
    kid             TEXT    NOT NULL,
    signature       TEXT    NOT NULL,
    PRIMARY KEY (chain, seq, kind)
);
CREATE INDEX audit_checkpoints_org_id ON audit_checkpoints (org_id);

-- A chain whose rows the open transaction may remove. No foreign key: it has to be there while an organisation goes.
CREATE TABLE audit_clearances (
    chain           TEXT    NOT NULL PRIMARY KEY
);

-- For how many days events are kept, if the operator said so; NULL is what the plan says.
ALTER TABLE orgs ADD COLUMN audit_days BIGINT;
-- After how many minutes without a request its members are logged out; NULL is the instance's default.
ALTER TABLE orgs ADD COLUMN session_minutes BIGINT;

CREATE FUNCTION audit_events_fixed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND EXISTS (SELECT 1 FROM audit_clearances WHERE chain = COALESCE(OLD.org_id, 'instance')) THEN
        RETURN OLD;
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.mac IS NULL THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'audit events are never changed or removed by themselves';
END
$$;
CREATE TRIGGER audit_events_fixed BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION audit_events_fixed();
CREATE FUNCTION audit_events_whole() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit events are never removed by themselves';
END
$$;
CREATE TRIGGER audit_events_whole BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION audit_events_whole();
