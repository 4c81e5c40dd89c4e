-- What organisations decide about the tools of connectors.

-- What a new or changed definition does before somebody has looked at it: 'alert' offers it and says so, 'block' does not
-- offer it.
ALTER TABLE connectors ADD COLUMN tool_policy TEXT NOT NULL DEFAULT 'alert';

-- The name that agents see, without the connector's prefix, if it is not the server's own.
ALTER TABLE connector_tools ADD COLUMN alias TEXT;
-- The description that agents see, if it is not the server's own.
ALTER TABLE connector_tools ADD COLUMN description TEXT;
-- How long a call may go without progress, in seconds, if not as long as others.
ALTER TABLE connector_tools ADD COLUMN timeout_seconds BIGINT;
-- The definition that was approved; NULL before the first was.
ALTER TABLE connector_tools ADD COLUMN pinned TEXT;
-- The fingerprint of the definition that was rejected last.
ALTER TABLE connector_tools ADD COLUMN rejected TEXT;
ALTER TABLE connector_tools ADD COLUMN reviewed_at BIGINT;
ALTER TABLE connector_tools ADD COLUMN reviewed_by TEXT;
-- Since when its server leaves it out: it is kept for what was decided about it. Unix milliseconds.
ALTER TABLE connector_tools ADD COLUMN gone_at BIGINT;

UPDATE connector_tools SET pinned = definition;
