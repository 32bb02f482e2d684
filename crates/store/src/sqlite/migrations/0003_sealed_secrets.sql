-- Signing secrets are sealed (see store::seal), which takes the key and so is done when the store is opened. This
-- step changes nothing but the version, so that a program that does not know of it refuses the file instead of
-- signing with what it finds.
UPDATE meta SET value = value WHERE key = 'id_key';
