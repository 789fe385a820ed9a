---@meta garun.tenant
--- The tenant's row of tenant_config, and the settings of its services as the bindings take them.
local tenant = {}

---@class garun.Tenant
---@field id string
---@field name string
---@field time_zone string

--- The tenant of that name or id, or the only active one. Raises kind "usage" when there is none or more than one, with a
--- hint that lists them.
---@async
---@param db garun.pg.Connection
---@param name? string
---@return garun.Tenant
---@nodiscard
function tenant.find(db, name) end

--- Settings of a service, nil when tenant_config has none: enabled and error as the last check left them, and
--- bigquery: project, dataset, credentials; sftp: connect (for sftp.connect), remote_path, users and locations (file names);
--- smtp: connect (for smtp.connect), from_address, from_name; postgres: the options of pg.connect. Secrets among them are
--- known to the log, which never prints them. Raises kind "tenant", code "config" for a value that is missing or of a wrong
--- type, "sealed" for one that is sealed.
---@async
---@param db garun.pg.Connection
---@param t garun.Tenant
---@param service "bigquery"|"sftp"|"smtp"|"postgres"
---@return table?
---@nodiscard
function tenant.service(db, t, service) end

--- The same for those who need the service. Raises kind "tenant", code "not_configured" or "disabled" too.
---@async
---@param db garun.pg.Connection
---@param t garun.Tenant
---@param service "bigquery"|"sftp"|"smtp"|"postgres"
---@return table
---@nodiscard
function tenant.need(db, t, service) end

return tenant
