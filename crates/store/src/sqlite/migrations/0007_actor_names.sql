-- Who is at the settings pages, as the product named them when it asked for the link: kept with the link, handed on to
-- the session that the link opens, and from there to what is changed in it. Null: it named nobody.
ALTER TABLE tokens ADD COLUMN actor_name TEXT;
ALTER TABLE sessions ADD COLUMN actor_name TEXT;
ALTER TABLE audit_log ADD COLUMN actor_name TEXT;
