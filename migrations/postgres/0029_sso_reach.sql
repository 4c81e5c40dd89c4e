-- Whom a provider logs in: nobody who holds more rights than whoever chose it. The name of a built-in role, or names of
-- permissions with spaces between. Who chose the present ones is not known: an owner who saves one vouches for it.
ALTER TABLE sso_providers ADD COLUMN reach TEXT NOT NULL DEFAULT 'admin';
