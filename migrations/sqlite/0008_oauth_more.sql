-- What the people of a connection have to be told: a refresh token of it came back after it had been replaced.
CREATE TABLE connection_alerts (
    connection_id   TEXT    NOT NULL PRIMARY KEY REFERENCES connections (id) ON DELETE CASCADE,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    -- Whether its grant was ended; otherwise only that request was refused.
    ended           BOOLEAN NOT NULL,
    address         TEXT    NOT NULL,
    user_agent      TEXT    NOT NULL,
    at              BIGINT  NOT NULL,
    -- When the person, and when somebody who may revoke connections, put it away.
    seen_by_user_at BIGINT,
    seen_by_org_at  BIGINT
);
CREATE INDEX connection_alerts_org_id ON connection_alerts (org_id, at);
