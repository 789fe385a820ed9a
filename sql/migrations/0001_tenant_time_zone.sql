-- The tenant's time zone: dashboards name hours and reports choose "yesterday" in it. An IANA name.

ALTER TABLE tenant_config ADD COLUMN IF NOT EXISTS time_zone TEXT NOT NULL DEFAULT 'UTC';

COMMENT ON COLUMN tenant_config.time_zone IS
    'IANA time zone of the tenant, as in Europe/Vienna: hours in dashboards, "yesterday" in reports';
