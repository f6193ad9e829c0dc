-- People: users with passwords or of an identity provider, and teams that own topics.

CREATE TABLE users (
  user_no      INTEGER PRIMARY KEY AUTOINCREMENT,
  account      TEXT    NOT NULL UNIQUE,
  display_name TEXT,
  roles        TEXT    NOT NULL CHECK (json_valid(roles)),
  -- argon2id in the PHC format; none when nobody signs in with a password.
  password     TEXT,
  source       TEXT    NOT NULL CHECK (source IN ('local', 'oidc')),
  -- Of an identity provider: issuer and subject.
  subject      TEXT    UNIQUE,
  disabled     INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1)),
  created_by   TEXT    NOT NULL,
  created_at   INTEGER NOT NULL,
  password_at  INTEGER,
  signed_in_at INTEGER,
  version      INTEGER NOT NULL
) STRICT;

CREATE TABLE teams (
  team_no     INTEGER PRIMARY KEY AUTOINCREMENT,
  name        TEXT    NOT NULL UNIQUE,
  description TEXT    NOT NULL,
  created_by  TEXT    NOT NULL,
  created_at  INTEGER NOT NULL,
  version     INTEGER NOT NULL
) STRICT;

-- A member is an account: a user's, or one that only has tokens. Those of an identity provider are written at each sign-in.
CREATE TABLE team_members (
  team    TEXT NOT NULL REFERENCES teams (name) ON DELETE CASCADE,
  account TEXT NOT NULL,
  source  TEXT NOT NULL CHECK (source IN ('api', 'oidc')),
  PRIMARY KEY (team, account)
) STRICT, WITHOUT ROWID;

CREATE INDEX team_members_by_account ON team_members (account);

-- Tokens that users make for themselves, and sessions: tokens that a sign-in makes and that end by themselves.
CREATE TABLE tokens_6 (
  token_id     INTEGER PRIMARY KEY AUTOINCREMENT,
  hash         BLOB    NOT NULL UNIQUE,
  prefix       TEXT    NOT NULL,
  label        TEXT,
  account      TEXT    NOT NULL,
  roles        TEXT    NOT NULL CHECK (json_valid(roles)),
  scopes       TEXT    NOT NULL CHECK (json_valid(scopes)),
  source       TEXT    NOT NULL CHECK (source IN ('bootstrap', 'api', 'personal', 'session')),
  created_by   TEXT,
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER,
  last_used_at INTEGER
) STRICT;

INSERT INTO tokens_6 (token_id, hash, prefix, label, account, roles, scopes, source, created_by, created_at, expires_at, last_used_at)
  SELECT token_id, hash, prefix, label, account, roles, scopes, source, created_by, created_at, expires_at, last_used_at FROM tokens;
DROP TABLE tokens;
ALTER TABLE tokens_6 RENAME TO tokens;
CREATE INDEX tokens_by_account ON tokens (account, source);
