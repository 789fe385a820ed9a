-- Branch to sales representative e-mail mapping.

CREATE TABLE IF NOT EXISTS branch_email_mappings (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id UUID NOT NULL REFERENCES tenant_config(id),
    branch_code VARCHAR(50) NOT NULL,
    branch_name VARCHAR(255),
    sales_rep_email VARCHAR(255) NOT NULL,
    sales_rep_name VARCHAR(255),
    is_enabled BOOLEAN DEFAULT TRUE,
    created_at TIMESTAMP DEFAULT NOW(),
    updated_at TIMESTAMP DEFAULT NOW()
);

CREATE INDEX IF NOT EXISTS idx_branch_email_mappings_tenant ON branch_email_mappings(tenant_id);
CREATE INDEX IF NOT EXISTS idx_branch_email_mappings_branch ON branch_email_mappings(tenant_id, branch_code);

COMMENT ON TABLE branch_email_mappings IS 'Branch to sales representative e-mail mapping.';
COMMENT ON COLUMN branch_email_mappings.branch_code IS 'locations.location_id of the branch';
COMMENT ON COLUMN branch_email_mappings.is_enabled IS 'Disabled mappings get no report';
