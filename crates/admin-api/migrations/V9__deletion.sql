-- What keeps topics from being deleted, and what deletions are decided by.
ALTER TABLE topics ADD COLUMN never_delete INTEGER NOT NULL DEFAULT 0 CHECK (never_delete IN (0, 1));

-- Switches that admins turn at run time; one that is not here is on.
CREATE TABLE switches (
  name    TEXT    NOT NULL PRIMARY KEY,
  enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
  by      TEXT    NOT NULL,
  at      INTEGER NOT NULL,
  reason  TEXT
) STRICT;

-- Gathered by the reconciler for pending deletions; wanted anew when wanted_at is later than gathered_at.
CREATE TABLE evidence (
  request_id  INTEGER NOT NULL PRIMARY KEY REFERENCES requests (request_id),
  wanted_at   INTEGER NOT NULL,
  gathered_at INTEGER NOT NULL DEFAULT 0,
  body        TEXT CHECK (body IS NULL OR json_valid(body))
) STRICT;

-- When a producer daemon last told of records of a topic.
CREATE TABLE producer_use (
  topic_name TEXT    NOT NULL,
  instance   TEXT    NOT NULL,
  last_at    INTEGER NOT NULL,
  PRIMARY KEY (topic_name, instance)
) STRICT, WITHOUT ROWID;
