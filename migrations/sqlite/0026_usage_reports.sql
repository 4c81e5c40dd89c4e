-- Usage as pages show it, so that a long time is read from few rows. Written with the other numbers, in the same
-- transaction. Hours and days are counted since 1970, UTC.

-- Calls by hour, connector and tool.
CREATE TABLE usage_tool_hours (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    hour            BIGINT  NOT NULL,
    connector_id    TEXT    NOT NULL,
    tool            TEXT    NOT NULL,
    calls           BIGINT  NOT NULL,
    errors          BIGINT  NOT NULL,
    duration_us     BIGINT  NOT NULL,
    PRIMARY KEY (org_id, hour, connector_id, tool)
);

-- The same by day.
CREATE TABLE usage_tool_days (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    day             BIGINT  NOT NULL,
    connector_id    TEXT    NOT NULL,
    tool            TEXT    NOT NULL,
    calls           BIGINT  NOT NULL,
    errors          BIGINT  NOT NULL,
    duration_us     BIGINT  NOT NULL,
    PRIMARY KEY (org_id, day, connector_id, tool)
);

-- All requests by day, connector ('' for none) and outcome.
CREATE TABLE usage_outcome_days (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    day             BIGINT  NOT NULL,
    connector_id    TEXT    NOT NULL,
    outcome         TEXT    NOT NULL,
    requests        BIGINT  NOT NULL,
    duration_us     BIGINT  NOT NULL,
    PRIMARY KEY (org_id, day, connector_id, outcome)
);

-- How many calls of a day were in each class of duration.
CREATE TABLE usage_latency_days (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    day             BIGINT  NOT NULL,
    class           BIGINT  NOT NULL,
    requests        BIGINT  NOT NULL,
    PRIMARY KEY (org_id, day, class)
);

-- Calls by principal and day.
CREATE TABLE usage_principal_days (
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    principal_kind  TEXT    NOT NULL,
    principal_id    TEXT    NOT NULL,
    day             BIGINT  NOT NULL,
    calls           BIGINT  NOT NULL,
    errors          BIGINT  NOT NULL,
    duration_us     BIGINT  NOT NULL,
    PRIMARY KEY (org_id, principal_kind, principal_id, day)
);

-- What was counted before. Tools by hour were not: they begin now.
INSERT INTO usage_tool_days (org_id, day, connector_id, tool, calls, errors, duration_us)
SELECT org_id, day, connector_id, tool, SUM(calls), SUM(errors), SUM(duration_us)
FROM usage_days GROUP BY org_id, day, connector_id, tool;

INSERT INTO usage_principal_days (org_id, principal_kind, principal_id, day, calls, errors, duration_us)
SELECT org_id, principal_kind, principal_id, day, SUM(calls), SUM(errors), SUM(duration_us)
FROM usage_days GROUP BY org_id, principal_kind, principal_id, day;

INSERT INTO usage_outcome_days (org_id, day, connector_id, outcome, requests, duration_us)
SELECT org_id, hour / 24, connector_id, outcome, SUM(requests), SUM(duration_us)
FROM usage_hours GROUP BY org_id, hour / 24, connector_id, outcome;

INSERT INTO usage_latency_days (org_id, day, class, requests)
SELECT org_id, hour / 24, class, SUM(requests)
FROM usage_latency GROUP BY org_id, hour / 24, class;
