-- Customer/user master data from SFTP.

CREATE TABLE IF NOT EXISTS users (
    user_id VARCHAR(100) NOT NULL,
    tenant_id UUID NOT NULL REFERENCES tenant_config(id),
    buying_company_name VARCHAR(255),
    email VARCHAR(255),
    cell_phone VARCHAR(50),
    office_phone VARCHAR(50),
    created_at TIMESTAMP DEFAULT NOW(),
    updated_at TIMESTAMP DEFAULT NOW(),

    PRIMARY KEY (tenant_id, user_id)
);

CREATE INDEX IF NOT EXISTS idx_users_tenant ON users(tenant_id);
CREATE INDEX IF NOT EXISTS idx_users_email ON users(email);

COMMENT ON TABLE users IS 'Customer/user master data from SFTP.';
COMMENT ON COLUMN users.user_id IS 'User identifier from the source system; text, leading zeros kept';
COMMENT ON COLUMN users.tenant_id IS 'Foreign key to tenant_config';
COMMENT ON COLUMN users.buying_company_name IS 'Customer company name';
COMMENT ON COLUMN users.email IS 'Contact e-mail';
COMMENT ON COLUMN users.cell_phone IS 'Mobile phone';
COMMENT ON COLUMN users.office_phone IS 'Office phone';
COMMENT ON COLUMN users.updated_at IS 'Moves only when something in the row changed';
