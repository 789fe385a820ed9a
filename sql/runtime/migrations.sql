-- Which files of sql/migrations/ this database has had, each exactly once and unchanged.

CREATE TABLE IF NOT EXISTS garun.migrations (
    version    INTEGER PRIMARY KEY CHECK (version > 0),
    name       TEXT NOT NULL,
    checksum   TEXT NOT NULL CHECK (checksum ~ '^[0-9a-f]{64}$'),
    applied_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    duration   INTERVAL NOT NULL
);

COMMENT ON TABLE garun.migrations IS
    'Migrations this database has had; written by init_db in the transaction of the migration.';
COMMENT ON COLUMN garun.migrations.version IS 'NNNN of sql/migrations/NNNN_name.sql; without gaps';
COMMENT ON COLUMN garun.migrations.checksum IS
    'SHA-256 of the file when it was applied, in hex; line ends counted as LF';
