-- Instants are integers: milliseconds since the Unix epoch, UTC.

CREATE TABLE topics (
  topic_id           INTEGER PRIMARY KEY AUTOINCREMENT,
  topic_name         TEXT    NOT NULL,
  -- The name with '.' as '_': names with the same key collide in Kafka.
  collision_key      TEXT    NOT NULL,
  -- Intent: written by decisions, counted by version.
  status             TEXT    NOT NULL CHECK (status IN ('pending', 'approved', 'active', 'inactive', 'deleted',
                                                        'rejected', 'withdrawn', 'expired')),
  partitions         INTEGER NOT NULL CHECK (partitions >= 1),
  replication_factor INTEGER NOT NULL CHECK (replication_factor >= 1),
  configs            TEXT    NOT NULL CHECK (json_valid(configs)),
  created_by         TEXT    NOT NULL,
  requested_by       TEXT    NOT NULL,
  owner              TEXT,
  description        TEXT    NOT NULL,
  on_stop            TEXT    NOT NULL CHECK (on_stop IN ('hold', 'dead_letter', 'discard')),
  created_at         INTEGER NOT NULL,
  approved_at        INTEGER,
  activated_at       INTEGER,
  deactivated_at     INTEGER,
  ended_at           INTEGER,
  reason             TEXT,
  purge_after        INTEGER,
  purge_started_at   INTEGER,
  version            INTEGER NOT NULL,
  -- Observation: written by the reconciler alone.
  attempts           INTEGER NOT NULL DEFAULT 0,
  next_attempt_at    INTEGER,
  last_problem       TEXT
) STRICT;

-- A name is unique among rows that are not ended; so is what it collides with.
CREATE UNIQUE INDEX topics_open_name ON topics (collision_key)
  WHERE status IN ('pending', 'approved', 'active', 'inactive');
CREATE INDEX topics_by_name ON topics (topic_name, topic_id);
CREATE INDEX topics_by_status ON topics (status, topic_id);

CREATE TABLE requests (
  request_id      INTEGER PRIMARY KEY AUTOINCREMENT,
  kind            TEXT    NOT NULL CHECK (kind IN ('create', 'change', 'delete')),
  status          TEXT    NOT NULL CHECK (status IN ('pending', 'approved', 'rejected', 'withdrawn', 'expired',
                                                     'cancelled')),
  topic_id        INTEGER NOT NULL REFERENCES topics (topic_id),
  requested_by    TEXT    NOT NULL,
  spec            TEXT    NOT NULL CHECK (json_valid(spec)),
  reason          TEXT,
  created_at      INTEGER NOT NULL,
  decided_at      INTEGER,
  decided_by      TEXT,
  decision_reason TEXT,
  version         INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX requests_open ON requests (topic_id) WHERE status = 'pending';
CREATE INDEX requests_by_status ON requests (status, request_id);
CREATE INDEX requests_by_account ON requests (requested_by) WHERE status = 'pending';

CREATE TABLE subscriptions (
  subscription_id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id         TEXT    NOT NULL,
  topic_id        INTEGER NOT NULL REFERENCES topics (topic_id),
  subscribed_at   INTEGER NOT NULL,
  UNIQUE (user_id, topic_id)
) STRICT;

CREATE INDEX subscriptions_by_topic ON subscriptions (topic_id);

-- The feed that long polls follow; its highest seq is the revision.
CREATE TABLE changes (
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  at         INTEGER NOT NULL,
  kind       TEXT    NOT NULL CHECK (kind IN ('topic', 'request', 'subscription')),
  topic_name TEXT    NOT NULL,
  status     TEXT    NOT NULL,
  user_id    TEXT
) STRICT;

CREATE INDEX changes_by_kind ON changes (kind, seq);
CREATE INDEX changes_by_topic ON changes (topic_name, kind, seq);

-- Append-only, in a hash chain.
CREATE TABLE audit (
  seq          INTEGER PRIMARY KEY,
  at           INTEGER NOT NULL,
  action       TEXT    NOT NULL,
  kind         TEXT,
  topic_id     INTEGER,
  topic_name   TEXT,
  requested_by TEXT,
  actor        TEXT    NOT NULL,
  reason       TEXT,
  before       TEXT,
  after        TEXT,
  request_id   INTEGER,
  hash         TEXT    NOT NULL
) STRICT;

CREATE TRIGGER audit_is_not_edited BEFORE UPDATE ON audit
BEGIN
  SELECT RAISE(ABORT, 'the audit is append-only');
END;

CREATE TRIGGER audit_is_not_cut BEFORE DELETE ON audit
BEGIN
  SELECT RAISE(ABORT, 'the audit is append-only');
END;

CREATE TABLE idempotency (
  account      TEXT    NOT NULL,
  key          TEXT    NOT NULL,
  request_hash BLOB    NOT NULL,
  status       INTEGER NOT NULL,
  body         TEXT    NOT NULL,
  created_at   INTEGER NOT NULL,
  PRIMARY KEY (account, key)
) STRICT;

CREATE TABLE tokens (
  hash       BLOB    NOT NULL PRIMARY KEY,
  prefix     TEXT    NOT NULL,
  account    TEXT    NOT NULL,
  roles      TEXT    NOT NULL CHECK (json_valid(roles)),
  scopes     TEXT    NOT NULL CHECK (json_valid(scopes)),
  source     TEXT    NOT NULL CHECK (source IN ('bootstrap', 'api')),
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  last_used_at INTEGER
) STRICT;
