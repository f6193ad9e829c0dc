-- Notices to webhooks. The audit is the outbox: its rows are written with their changes, and each webhook has a place
-- in it. What is due to be sent, and what became of it, stands in notices.
CREATE TABLE webhooks (
  name     TEXT    NOT NULL PRIMARY KEY,
  -- The newest row of the audit that was looked at for it.
  position INTEGER NOT NULL
) STRICT;

CREATE TABLE notices (
  notice_id       INTEGER PRIMARY KEY AUTOINCREMENT,
  webhook         TEXT    NOT NULL,
  audit_seq       INTEGER NOT NULL,
  action          TEXT    NOT NULL,
  topic_name      TEXT,
  status          TEXT    NOT NULL CHECK (status IN ('waiting', 'delivered', 'failed')),
  created_at      INTEGER NOT NULL,
  attempts        INTEGER NOT NULL DEFAULT 0,
  next_attempt_at INTEGER NOT NULL,
  delivered_at    INTEGER,
  last_status     INTEGER,
  last_problem    TEXT,
  UNIQUE (webhook, audit_seq)
) STRICT;

CREATE INDEX notices_due ON notices (next_attempt_at) WHERE status = 'waiting';
CREATE INDEX notices_by_age ON notices (created_at) WHERE status <> 'waiting';
