-- Requests of kind reactivate, edits, approvals with changes, comments, reminders, and subscriptions that come with a topic.

-- A check cannot be changed in place, and topics point here: their pointers wait in a table of their own.
CREATE TABLE pointers_7 AS SELECT topic_id, change_request_id FROM topics WHERE change_request_id IS NOT NULL;
UPDATE topics SET change_request_id = NULL WHERE change_request_id IS NOT NULL;

CREATE TABLE requests_7 (
  request_id       INTEGER PRIMARY KEY AUTOINCREMENT,
  kind             TEXT    NOT NULL CHECK (kind IN ('create', 'change', 'delete', 'reactivate')),
  status           TEXT    NOT NULL CHECK (status IN ('pending', 'approved', 'rejected', 'withdrawn', 'expired',
                                                      'cancelled')),
  topic_id         INTEGER NOT NULL REFERENCES topics (topic_id),
  requested_by     TEXT    NOT NULL,
  spec             TEXT    NOT NULL CHECK (json_valid(spec)),
  base             TEXT    CHECK (base IS NULL OR json_valid(base)),
  -- What the requester wrote: the rest of the spec is the policy's or the topic's.
  asked            TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(asked)),
  -- What an approver made of it: by whom, when, and what it was.
  amended          TEXT    CHECK (amended IS NULL OR json_valid(amended)),
  subscribe        TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(subscribe)),
  reason           TEXT,
  created_at       INTEGER NOT NULL,
  reminded_at      INTEGER,
  decided_at       INTEGER,
  decided_by       TEXT,
  decision_reason  TEXT,
  approvals_needed INTEGER NOT NULL DEFAULT 1,
  different_teams  INTEGER NOT NULL DEFAULT 0,
  approved_by      TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(approved_by)),
  approver_teams   TEXT    NOT NULL DEFAULT '[]' CHECK (json_valid(approver_teams)),
  version          INTEGER NOT NULL
) STRICT;

INSERT INTO requests_7 (request_id, kind, status, topic_id, requested_by, spec, base, reason, created_at, decided_at,
    decided_by, decision_reason, approvals_needed, approved_by, version)
  SELECT request_id, kind, status, topic_id, requested_by, spec, base, reason, created_at, decided_at,
    decided_by, decision_reason, approvals_needed, approved_by, version FROM requests;
DROP TABLE requests;
ALTER TABLE requests_7 RENAME TO requests;
UPDATE topics SET change_request_id = (SELECT change_request_id FROM pointers_7 p WHERE p.topic_id = topics.topic_id)
  WHERE topic_id IN (SELECT topic_id FROM pointers_7);
DROP TABLE pointers_7;

CREATE UNIQUE INDEX requests_open ON requests (topic_id) WHERE status = 'pending';
CREATE INDEX requests_by_topic ON requests (topic_id, kind, request_id);
CREATE INDEX requests_by_status ON requests (status, request_id);
CREATE INDEX requests_by_account ON requests (requested_by) WHERE status = 'pending';
CREATE INDEX requests_by_age ON requests (created_at) WHERE status = 'pending';
-- What the policy approved by itself, for its rate limit.
CREATE INDEX requests_by_policy ON requests (requested_by, decided_at) WHERE decided_by = 'policy';

-- What a request was before each of its changes: a decision about an old version is answered with the difference.
CREATE TABLE request_revisions (
  request_id INTEGER NOT NULL REFERENCES requests (request_id),
  version    INTEGER NOT NULL,
  body       TEXT    NOT NULL CHECK (json_valid(body)),
  PRIMARY KEY (request_id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE request_comments (
  comment_id INTEGER PRIMARY KEY AUTOINCREMENT,
  request_id INTEGER NOT NULL REFERENCES requests (request_id),
  author     TEXT    NOT NULL,
  at         INTEGER NOT NULL,
  body       TEXT    NOT NULL
) STRICT;

CREATE INDEX request_comments_by_request ON request_comments (request_id, comment_id);

-- Topics by who answers for them, for budgets.
CREATE INDEX topics_by_owner ON topics (owner) WHERE status IN ('pending', 'approved', 'active', 'inactive');
