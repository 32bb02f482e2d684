-- From when on every attempt goes by the endpoint's URL and secrets of now, so that its headers can be made again.
-- Of the endpoints there are so far it is only known when they were last changed at all.
ALTER TABLE endpoints ADD COLUMN sent_as_since INTEGER NOT NULL DEFAULT 0;
UPDATE endpoints SET sent_as_since = updated_at;

-- What became of one endpoint, in order: where its URL was once another.
CREATE INDEX audit_log_of_subject ON audit_log (subject, id);
