-- Who may write for a consumer, what a consumer was before, and which request changed it.

-- Grows with every worker that starts: sinks take nothing from an older one.
ALTER TABLE consumers ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;

-- What a consumer was at a generation that changed what it is.
CREATE TABLE revisions (
    consumer_id TEXT    NOT NULL REFERENCES consumers (id) ON DELETE CASCADE,
    revision    INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    actor       TEXT    NOT NULL,
    spec        TEXT    NOT NULL,
    PRIMARY KEY (consumer_id, revision)
) WITHOUT ROWID;

ALTER TABLE audit ADD COLUMN request_id TEXT;
CREATE INDEX audit_by_consumer ON audit (consumer_id, seq);
