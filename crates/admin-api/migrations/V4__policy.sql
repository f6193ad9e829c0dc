-- Versions of the policy; the newest one counts. Without any, the configuration's.
CREATE TABLE policies (
  version INTEGER PRIMARY KEY AUTOINCREMENT,
  at      INTEGER NOT NULL,
  author  TEXT    NOT NULL,
  body    TEXT    NOT NULL CHECK (json_valid(body))
) STRICT;

ALTER TABLE requests ADD COLUMN approvals_needed INTEGER NOT NULL DEFAULT 1;
ALTER TABLE requests ADD COLUMN approved_by TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(approved_by));
