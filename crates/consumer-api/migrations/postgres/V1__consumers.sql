-- The registry that several instances share: the tables of SQLite's, and who runs which consumer.

CREATE TABLE consumers (
    seq            BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             TEXT    NOT NULL UNIQUE,
    cluster        TEXT    NOT NULL,
    broker_ip      TEXT    NOT NULL,
    broker_port    BIGINT  NOT NULL,
    topics         TEXT    NOT NULL,
    consumer_group TEXT    NOT NULL,
    client_id      TEXT,
    auto_start     BIGINT  NOT NULL,
    owner          TEXT    NOT NULL,
    desired        TEXT    NOT NULL CHECK (desired IN ('running', 'paused', 'stopped')),
    generation     BIGINT  NOT NULL,
    created_at     BIGINT  NOT NULL,
    updated_at     BIGINT  NOT NULL,
    -- Grows with every worker that starts: sinks take nothing from an older one.
    epoch          BIGINT  NOT NULL DEFAULT 0
);

CREATE TABLE downstream_processors (
    id             TEXT    PRIMARY KEY,
    consumer_id    TEXT    NOT NULL REFERENCES consumers (id) ON DELETE CASCADE,
    place          BIGINT  NOT NULL,
    processor_type TEXT    NOT NULL,
    config         TEXT    NOT NULL,
    created_at     BIGINT  NOT NULL,
    updated_at     BIGINT  NOT NULL
);
CREATE INDEX downstream_processors_by_consumer ON downstream_processors (consumer_id, place);

-- What a consumer was at a generation that changed what it is.
CREATE TABLE revisions (
    consumer_id TEXT   NOT NULL REFERENCES consumers (id) ON DELETE CASCADE,
    revision    BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    actor       TEXT   NOT NULL,
    spec        TEXT   NOT NULL,
    PRIMARY KEY (consumer_id, revision)
);

-- The length up to which a sink's file is known to be whole; it is cut back to it.
CREATE TABLE sink_files (
    path   TEXT   PRIMARY KEY,
    length BIGINT NOT NULL
);

-- The next offset that a processor lacks. topic_id tells a topic from an earlier one of its name.
CREATE TABLE sink_positions (
    processor_id TEXT   NOT NULL REFERENCES downstream_processors (id) ON DELETE CASCADE,
    topic        TEXT   NOT NULL,
    partition    BIGINT NOT NULL,
    topic_id     BIGINT NOT NULL,
    next_offset  BIGINT NOT NULL,
    PRIMARY KEY (processor_id, topic, partition)
);

CREATE TABLE audit (
    seq         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          BIGINT NOT NULL,
    action      TEXT   NOT NULL,
    consumer_id TEXT   NOT NULL,
    actor       TEXT   NOT NULL,
    before      TEXT,
    after       TEXT,
    request_id  TEXT
);
CREATE INDEX audit_by_consumer ON audit (consumer_id, seq);

CREATE TABLE idempotency (
    account     TEXT   NOT NULL,
    key         TEXT   NOT NULL,
    body_hash   BYTEA  NOT NULL,
    consumer_id TEXT   NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (account, key)
);

-- What the admin API said last about the topics, so that a start without it knows them.
CREATE TABLE catalogue (
    id   BIGINT PRIMARY KEY CHECK (id = 1),
    body TEXT   NOT NULL
);

-- The processes that share the work. One that is silent until expires_at has lost its consumers; instants
-- are those of this database's clock, in milliseconds.
CREATE TABLE instances (
    id         TEXT   PRIMARY KEY,
    url        TEXT   NOT NULL,
    started_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Who runs a consumer, and what it said last about it. Removing an instance frees its consumers.
CREATE TABLE placements (
    consumer_id TEXT   PRIMARY KEY REFERENCES consumers (id) ON DELETE CASCADE,
    instance    TEXT   REFERENCES instances (id) ON DELETE SET NULL,
    since       BIGINT NOT NULL,
    applied     BIGINT NOT NULL DEFAULT 0,
    report      TEXT
);
CREATE INDEX placements_by_instance ON placements (instance);
