-- What is rare in a long log is found by an index of its own: one action, and one action of one person.
CREATE INDEX audit_events_action ON audit_events (org_id, action, seq);
CREATE INDEX audit_events_actor_action ON audit_events (org_id, actor_id, action, seq);
