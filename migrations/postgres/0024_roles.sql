-- Roles that organisations make of permissions. Where a role is named (members, invitations, sso_providers) there is the
-- name of a built-in one, or the id of one of these.
CREATE TABLE roles (
    id              TEXT    NOT NULL PRIMARY KEY,
    org_id          TEXT    NOT NULL REFERENCES orgs (id) ON DELETE CASCADE,
    name            TEXT    NOT NULL,
    -- The name in lower case: names are told apart by it.
    name_key        TEXT    NOT NULL,
    description     TEXT    NOT NULL,
    -- The names of its permissions, with spaces between.
    permissions     TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    updated_at      BIGINT  NOT NULL,
    UNIQUE (org_id, name_key)
);
CREATE INDEX members_role ON members (org_id, role);
