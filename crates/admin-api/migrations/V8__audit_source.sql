-- From where and for whom; what the audit is searched by.
ALTER TABLE audit ADD COLUMN on_behalf_of TEXT;
ALTER TABLE audit ADD COLUMN source TEXT CHECK (source IS NULL OR json_valid(source));

CREATE INDEX audit_by_topic ON audit (topic_name, seq);
CREATE INDEX audit_by_actor ON audit (actor, seq);
CREATE INDEX audit_by_action ON audit (action, seq);
CREATE INDEX audit_by_time ON audit (at, seq);

-- The words of each row; the row itself stays in audit alone.
CREATE VIRTUAL TABLE audit_words USING fts5 (words, content = '', detail = none, tokenize = 'unicode61');
INSERT INTO audit_words (rowid, words)
  SELECT seq, concat_ws(' ', action, kind, topic_name, requested_by, actor, reason) FROM audit;
CREATE TRIGGER audit_is_indexed AFTER INSERT ON audit
BEGIN
  INSERT INTO audit_words (rowid, words) VALUES (new.seq,
    concat_ws(' ', new.action, new.kind, new.topic_name, new.requested_by, new.on_behalf_of, new.actor, new.reason));
END;
