-- How a consumer meets trouble, and replays of time ranges beside it.

-- JSON; what is left out has its default.
ALTER TABLE consumers ADD COLUMN policies TEXT NOT NULL DEFAULT '{}';

CREATE TABLE replays (
    id          TEXT    PRIMARY KEY,
    consumer_id TEXT    NOT NULL REFERENCES consumers (id) ON DELETE CASCADE,
    at          BIGINT NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('running', 'done', 'failed', 'cancelled')),
    body        TEXT    NOT NULL
);
CREATE INDEX replays_by_consumer ON replays (consumer_id, at);
