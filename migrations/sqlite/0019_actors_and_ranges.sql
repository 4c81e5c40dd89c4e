-- How whoever acted had shown who they are, and with which credential. An event says in which version it is written: what
-- its code in the chain is made of. Those of before are of version 1 and say nothing of it.
ALTER TABLE audit_events ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE audit_events ADD COLUMN auth_method TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_events ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
DROP TRIGGER audit_events_fixed;
CREATE TRIGGER audit_events_fixed BEFORE UPDATE ON audit_events
WHEN OLD.mac IS NOT NULL AND NOT (
    EXISTS (SELECT 1 FROM audit_clearances WHERE chain = COALESCE(OLD.org_id, 'instance'))
    AND NEW.erased_digest IS NOT NULL AND NEW.erased_tag IS NOT NULL
    AND (OLD.erased_digest IS NULL OR NEW.erased_digest = OLD.erased_digest)
    AND NEW.id = OLD.id AND NEW.org_id IS OLD.org_id AND NEW.seq = OLD.seq AND NEW.mac = OLD.mac
    AND NEW.occurred_at = OLD.occurred_at AND NEW.action = OLD.action AND NEW.category = OLD.category
    AND NEW.result = OLD.result AND NEW.actor_kind = OLD.actor_kind AND NEW.actor_id = OLD.actor_id
    AND NEW.version = OLD.version AND NEW.auth_method = OLD.auth_method AND NEW.key_id = OLD.key_id
)
BEGIN
    SELECT RAISE(ABORT, 'audit events are never changed');
END;

-- From where a key may be used: ranges in CIDR notation with spaces between; empty for everywhere.
ALTER TABLE api_keys ADD COLUMN ranges TEXT NOT NULL DEFAULT '';
