-- Disagreements with Kafka that somebody said may stay.
CREATE TABLE drift_ignored (
  topic_name TEXT    NOT NULL,
  kind       TEXT    NOT NULL,
  key        TEXT    NOT NULL,
  by         TEXT    NOT NULL,
  at         INTEGER NOT NULL,
  reason     TEXT,
  PRIMARY KEY (topic_name, kind, key)
) STRICT, WITHOUT ROWID;
