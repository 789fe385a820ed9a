---@meta garun.config
--- Configuration from the environment and .env. The environment wins. A POSTGRES_*, DATABASE_* or GARUN_* name that garun
--- does not know is an error, and so is a value that is malformed.
---
--- POSTGRES_HOST, POSTGRES_PORT (5432), POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DATABASE, POSTGRES_SSLMODE,
--- POSTGRES_SSLROOTCERT (a PEM file): the server.
--- Without POSTGRES_HOST garun uses its private one (garun help db).
--- DATABASE_POOL_SIZE (10), DATABASE_MAX_OVERFLOW (5), DATABASE_POOL_TIMEOUT (30 s), DATABASE_POOL_RECYCLE (1800 s): pools.
--- GARUN_LOG_LEVEL debug|info|warn|error, GARUN_LOG_FORMAT logfmt|json: the log on standard error.
--- GARUN_VAR: the private server and reject files; default var/ beside a checkout, /var/lib/garun for an installed
--- garun that root runs, else ~/.local/state/garun. GARUN_HOME: where scripts/ and sql/ are.
--- GARUN_DEBUG: core dumps are allowed (they hold passwords).
local config = {}

--- Reads the environment and the file; main.lua has done so before a script runs.
---@param path? string default ./.env, which need not exist
function config.load(path) end

--- The value of a variable, checked and converted; nil when it is not set.
---@param name string
---@return string|integer|nil
function config.get(name) end

--- Where it was set: "environment", ".env:3" or nil.
---@param name string
---@return string?
function config.origin(name) end

--- The directory that holds scripts/ and sql/.
---@return string
function config.root() end

--- A path below root().
---@param name string
---@return string
function config.path(name) end

--- The directory of the private server and of reject files.
---@return string
function config.var() end

--- Connection settings of the configured server, or of the private one, which is started when it does not run.
---@async
---@return { host: string, port: integer, user: string?, password: string?, database: string?, sslmode: string? }
function config.postgres() end

return config
