-- Tokens that admins make: with an identity of their own, a label, and who made them.

CREATE TABLE tokens_3 (
  token_id     INTEGER PRIMARY KEY AUTOINCREMENT,
  hash         BLOB    NOT NULL UNIQUE,
  prefix       TEXT    NOT NULL,
  label        TEXT,
  account      TEXT    NOT NULL,
  roles        TEXT    NOT NULL CHECK (json_valid(roles)),
  scopes       TEXT    NOT NULL CHECK (json_valid(scopes)),
  source       TEXT    NOT NULL CHECK (source IN ('bootstrap', 'api')),
  created_by   TEXT,
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER,
  last_used_at INTEGER
) STRICT;

INSERT INTO tokens_3 (hash, prefix, account, roles, scopes, source, created_at, expires_at, last_used_at)
  SELECT hash, prefix, account, roles, scopes, source, created_at, expires_at, last_used_at FROM tokens;
DROP TABLE tokens;
ALTER TABLE tokens_3 RENAME TO tokens;
