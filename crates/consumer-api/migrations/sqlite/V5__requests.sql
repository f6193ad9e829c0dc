-- What a sink was about to send, so that it sends the same again after a crash: its own text.
ALTER TABLE sink_positions ADD COLUMN plan TEXT NOT NULL DEFAULT '';
ALTER TABLE replay_positions ADD COLUMN plan TEXT NOT NULL DEFAULT '';
