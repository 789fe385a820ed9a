-- Connections and settings of the tenant this database belongs to: one database per tenant, one row.

CREATE TABLE IF NOT EXISTS tenant_config (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    name VARCHAR(255) NOT NULL,

    -- BigQuery configuration (optional)
    bigquery_project_id VARCHAR(255),
    bigquery_dataset_id VARCHAR(255),
    bigquery_credentials JSONB,
    bigquery_enabled BOOLEAN DEFAULT TRUE,
    bigquery_validation_error TEXT,

    -- PostgreSQL configuration (REQUIRED)
    postgres_config JSONB NOT NULL,

    -- SFTP configuration (optional)
    sftp_config JSONB,
    sftp_enabled BOOLEAN DEFAULT TRUE,
    sftp_validation_error TEXT,

    -- Email configuration (optional)
    email_config JSONB,
    smtp_enabled BOOLEAN DEFAULT TRUE,
    smtp_validation_error TEXT,

    -- Status
    is_active BOOLEAN DEFAULT TRUE,
    created_at TIMESTAMP DEFAULT NOW(),
    updated_at TIMESTAMP DEFAULT NOW()
);

COMMENT ON TABLE tenant_config IS
    'Connections and settings of the tenant this database belongs to: one database per tenant, one row.';
COMMENT ON COLUMN tenant_config.id IS 'Primary key, auto-generated';
COMMENT ON COLUMN tenant_config.name IS 'Tenant display name';
COMMENT ON COLUMN tenant_config.bigquery_project_id IS 'Google Cloud project of the GA4 export';
COMMENT ON COLUMN tenant_config.bigquery_dataset_id IS 'BigQuery data set of the GA4 export: analytics_<property>';
COMMENT ON COLUMN tenant_config.bigquery_credentials IS
    'Google service-account key object; string values may be sealed (enc:...)';
COMMENT ON COLUMN tenant_config.bigquery_enabled IS 'Whether BigQuery is used; written by the connection check';
COMMENT ON COLUMN tenant_config.bigquery_validation_error IS 'Last validation error message of BigQuery';
COMMENT ON COLUMN tenant_config.postgres_config IS
    'The tenant''s PostgreSQL connection: {host, port, database, user, password}';
COMMENT ON COLUMN tenant_config.sftp_config IS
    'SFTP server for master data: {host, port, username, password | private_key, host_key, remote_path, ...}';
COMMENT ON COLUMN tenant_config.sftp_enabled IS 'Whether SFTP is used; written by the connection check';
COMMENT ON COLUMN tenant_config.sftp_validation_error IS 'Last validation error message of SFTP';
COMMENT ON COLUMN tenant_config.email_config IS
    'SMTP configuration: {server, port, username, password, from_address, use_tls, ...}';
COMMENT ON COLUMN tenant_config.smtp_enabled IS 'Whether mail is sent; written by the connection check';
COMMENT ON COLUMN tenant_config.smtp_validation_error IS 'Last validation error message of SMTP';
COMMENT ON COLUMN tenant_config.is_active IS 'Inactive tenants are left out of scheduled work';
