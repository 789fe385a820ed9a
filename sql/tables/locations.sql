-- Branch/location master data from SFTP.

CREATE TABLE IF NOT EXISTS locations (
    location_id VARCHAR(100) NOT NULL,
    tenant_id UUID NOT NULL REFERENCES tenant_config(id),
    location_name VARCHAR(255),
    city VARCHAR(100),
    state VARCHAR(100),
    created_at TIMESTAMP DEFAULT NOW(),
    updated_at TIMESTAMP DEFAULT NOW(),

    PRIMARY KEY (tenant_id, location_id)
);

CREATE INDEX IF NOT EXISTS idx_locations_tenant ON locations(tenant_id);

COMMENT ON TABLE locations IS 'Branch/location master data from SFTP.';
COMMENT ON COLUMN locations.location_id IS
    'Branch code (e.g. "D01"), the value events carry as user_prop_default_branch_id';
COMMENT ON COLUMN locations.tenant_id IS 'Foreign key to tenant_config';
COMMENT ON COLUMN locations.location_name IS 'Branch display name';
COMMENT ON COLUMN locations.city IS 'City name';
COMMENT ON COLUMN locations.state IS 'State/province';
COMMENT ON COLUMN locations.updated_at IS 'Moves only when something in the row changed';
