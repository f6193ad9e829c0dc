-- Replays go on after a restart, exactly where they stood.

-- JSON of what the job is made from; empty for those that began before it was kept.
ALTER TABLE replays ADD COLUMN work TEXT NOT NULL DEFAULT '';
-- Grows with every process that takes it up: an older one writes nothing.
ALTER TABLE replays ADD COLUMN epoch BIGINT NOT NULL DEFAULT 1;

-- What the processors of a replay hold, as sink_positions is for those of consumers.
CREATE TABLE replay_positions (
    processor_id TEXT    NOT NULL,
    replay_id    TEXT    NOT NULL REFERENCES replays (id) ON DELETE CASCADE,
    topic        TEXT    NOT NULL,
    partition    INTEGER NOT NULL,
    topic_id     BIGINT  NOT NULL,
    next_offset  BIGINT  NOT NULL,
    PRIMARY KEY (processor_id, topic, partition)
);
CREATE INDEX replay_positions_by_replay ON replay_positions (replay_id);
