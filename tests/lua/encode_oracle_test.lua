-- The encoder against readers that are not ours: Python's json, and PostgreSQL's own types.

local config <const> = require "garun.config"
local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local t <const> = require "garun.test"

local program <const> = fs.dirname(host.exe()) .. "/tests/encode_oracle"

local function oracle(script, ...)
  if not fs.exists(program) then t.skip(program .. " is not built (make test builds it)") end
  if not fs.exists "/usr/bin/python3" then t.skip "no /usr/bin/python3" end
  local root <const> = config.root()
  local args <const> = { "/usr/bin/python3", root .. "/tests/c/" .. script, program, ... }
  args.cwd = root
  return args
end

t.test("random and damaged records come out as Python's json reads them", function()
  local r <const> = t.run(oracle("encode_oracle.py", "5"))
  t.equal(r.status, 0, r.stdout .. r.stderr)
end)

t.test("PostgreSQL takes every row, and values are what its own casts give", function()
  local at <const> = t.postgres()
  local args <const> = oracle("encode_postgres.py", "1")
  args.env = { PGHOST = at.host, PGPORT = tostring(at.port), PGUSER = at.user, PGDATABASE = at.database }
  local r <const> = t.run(args)
  t.equal(r.status, 0, r.stdout .. r.stderr)
end)
