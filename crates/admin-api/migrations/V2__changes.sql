-- Requests of kind change: what the topic was when it was asked for, and the approved one that Kafka does not show yet.

ALTER TABLE requests ADD COLUMN base TEXT CHECK (base IS NULL OR json_valid(base));
ALTER TABLE topics ADD COLUMN change_request_id INTEGER REFERENCES requests (request_id);
-- Kafka's own id of the topic: another one under the same name is another topic.
ALTER TABLE topics ADD COLUMN kafka_id TEXT;
