-- Limits, usage and the request log. Times are Unix milliseconds unless a column says otherwise.

-- What an organisation, or the operator for it, chose. Without a row all is as the plan says.
CREATE TABLE usage_settings (
    org_id          TEXT    NOT NULL PRIMARY KEY REFERENCES orgs (id) ON DELETE CASCADE,
    -- In place of the plan's; NULL is the plan's, -1 none.
    rate_per_minute BIGINT,
    monthly_quota   BIGINT,
    log_bodies      BOOLEAN NOT NULL,
    log_days        BIGINT  NOT NULL,
    -- Per cent of the quota, with commas between.
    thresholds      TEXT    NOT NULL
);

-- Calls of a month (UTC, counted from January 1970). Nodes take portions of the quota before they use them.
CREATE TABLE usage_months (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    month           BIGINT  NOT NULL,
    used            BIGINT  NOT NULL,
    reserved        BIGINT  NOT NULL,
    PRIMARY KEY (org_id, month)
);

-- Which thresholds were told.
CREATE TABLE usage_alerts (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    month           BIGINT  NOT NULL,
    threshold       BIGINT  NOT NULL,
    fired_at        BIGINT  NOT NULL,
    PRIMARY KEY (org_id, month, threshold)
);

-- Rates that several nodes share: the theoretical arrival time of GCRA, Unix microseconds.
CREATE TABLE rate_buckets (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    bucket          TEXT    NOT NULL,
    arrival         BIGINT  NOT NULL,
    PRIMARY KEY (org_id, bucket)
);

-- All requests by hour (since 1970, UTC), connector ('' for none) and outcome.
CREATE TABLE usage_hours (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    hour            BIGINT  NOT NULL,
    connector_id    TEXT    NOT NULL,
    outcome         TEXT    NOT NULL,
    requests        BIGINT  NOT NULL,
    duration_us     BIGINT  NOT NULL,
    bytes_in        BIGINT  NOT NULL,
    bytes_out       BIGINT  NOT NULL,
    PRIMARY KEY (org_id, hour, connector_id, outcome)
);

-- How long calls took: how many in each class of duration.
CREATE TABLE usage_latency (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    hour            BIGINT  NOT NULL,
    class           BIGINT  NOT NULL,
    requests        BIGINT  NOT NULL,
    PRIMARY KEY (org_id, hour, class)
);

-- Calls by day (since 1970, UTC), connector, tool and principal.
CREATE TABLE usage_days (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    day             BIGINT  NOT NULL,
    connector_id    TEXT    NOT NULL,
    tool            TEXT    NOT NULL,
    principal_kind  TEXT    NOT NULL,
    principal_id    TEXT    NOT NULL,
    calls           BIGINT  NOT NULL,
    errors          BIGINT  NOT NULL,
    duration_us     BIGINT  NOT NULL,
    bytes_in        BIGINT  NOT NULL,
    bytes_out       BIGINT  NOT NULL,
    PRIMARY KEY (org_id, day, connector_id, tool, principal_kind, principal_id)
);

-- One row per request; ids are in the order in which requests ended. Connectors and principals are kept by name: the row
-- outlives them.
CREATE TABLE request_log (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    at              BIGINT  NOT NULL,
    method          TEXT    NOT NULL,
    connector_id    TEXT    NOT NULL,
    connector_slug  TEXT    NOT NULL,
    tool            TEXT    NOT NULL,
    principal_kind  TEXT    NOT NULL,
    principal_id    TEXT    NOT NULL,
    principal_name  TEXT    NOT NULL,
    outcome         TEXT    NOT NULL,
    total_us        BIGINT  NOT NULL,
    -- What is searched: lower case.
    words           TEXT    NOT NULL,
    -- JSON: everything else.
    detail          TEXT    NOT NULL,
    -- Arguments and result, redacted and sealed, where the organisation wants them kept.
    bodies          BYTEA
);
CREATE INDEX request_log_org_id ON request_log (org_id, id);
