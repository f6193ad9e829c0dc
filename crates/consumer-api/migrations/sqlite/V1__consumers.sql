-- Managed consumers (reference document 004, section 6), what their sinks hold, and who changed what.

CREATE TABLE consumers (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT    NOT NULL UNIQUE,
    cluster        TEXT    NOT NULL,
    broker_ip      TEXT    NOT NULL,
    broker_port    INTEGER NOT NULL,
    topics         TEXT    NOT NULL,
    consumer_group TEXT    NOT NULL,
    client_id      TEXT,
    auto_start     INTEGER NOT NULL,
    owner          TEXT    NOT NULL,
    desired        TEXT    NOT NULL CHECK (desired IN ('running', 'paused', 'stopped')),
    generation     INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL
);

CREATE TABLE downstream_processors (
    id             TEXT    PRIMARY KEY,
    consumer_id    TEXT    NOT NULL REFERENCES consumers (id) ON DELETE CASCADE,
    place          INTEGER NOT NULL,
    processor_type TEXT    NOT NULL,
    config         TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL
);
CREATE INDEX downstream_processors_by_consumer ON downstream_processors (consumer_id, place);

-- The length up to which a sink's file is known to be whole; it is cut back to it.
CREATE TABLE sink_files (
    path   TEXT    PRIMARY KEY,
    length INTEGER NOT NULL
) WITHOUT ROWID;

-- The next offset that a processor lacks. `topic_id` tells a topic from an earlier one of its name.
CREATE TABLE sink_positions (
    processor_id TEXT    NOT NULL REFERENCES downstream_processors (id) ON DELETE CASCADE,
    topic        TEXT    NOT NULL,
    partition    INTEGER NOT NULL,
    topic_id     INTEGER NOT NULL,
    next_offset  INTEGER NOT NULL,
    PRIMARY KEY (processor_id, topic, partition)
) WITHOUT ROWID;

CREATE TABLE audit (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    action      TEXT    NOT NULL,
    consumer_id TEXT    NOT NULL,
    actor       TEXT    NOT NULL,
    before      TEXT,
    after       TEXT
);

CREATE TABLE idempotency (
    account     TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    body_hash   BLOB    NOT NULL,
    consumer_id TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) WITHOUT ROWID;

-- What the admin API said last about the topics, so that a start without it knows them.
CREATE TABLE catalogue (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    body TEXT NOT NULL
);
