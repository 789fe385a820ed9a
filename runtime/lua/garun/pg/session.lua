-- garun.pg.session: what a connection does beyond single statements: transactions, COPY, pipelines, notifications.
-- These functions join the methods of garun.core.pg.

local core <const> = require "garun.core.pg"
local errors <const> = require "garun.error"
local text <const> = require "garun.pg.text"

local conn <const> = core.conn

local ROLLBACK_TIMEOUT <const> = 10

---- transactions ----

local ISOLATION <const> = {
  ["read committed"] = "READ COMMITTED", ["repeatable read"] = "REPEATABLE READ", serializable = "SERIALIZABLE",
}

local function usage(message, hint)
  error(errors.new { kind = "usage", message = message, hint = hint }, 0)
end

local function control(db, sql, timeout)
  return db:query { sql, prepare = false, timeout = timeout }
end

-- Ends what is left of a transaction after an error. A connection that cannot do even that is closed, and the server
-- rolls back by itself.
local function undo(db, sql)
  local status <const> = db:status()
  if status == "closed" or status == "idle" then return end
  local ok <const>, err <const> = pcall(db.script, db, { sql, timeout = ROLLBACK_TIMEOUT })
  if ok then return end
  db:close()
  if not errors.is(err, "pg") then error(err, 0) end      -- a cancellation during the rollback is not swallowed
end

local function begin_sql(opts)
  local isolation <const> = opts.isolation and ISOLATION[opts.isolation]
  if opts.isolation and not isolation then
    usage(string.format("db:transaction: unknown isolation %q; known are \"read committed\", \"repeatable read\" and "
      .. "\"serializable\"", tostring(opts.isolation)))
  end
  return "BEGIN" .. (isolation and " ISOLATION LEVEL " .. isolation or "")
    .. (opts.read_only and " READ ONLY" or "") .. (opts.deferrable and " DEFERRABLE" or "")
end

local function commit(db)
  local status <const> = db:transaction_status()
  if status == "failed" then
    error(errors.new { kind = "pg", code = "25P02", message = "db:transaction: nothing was committed, because a "
      .. "statement in it had failed and its error was caught", hint = "let errors leave the function, or put "
      .. "statements that may fail into a nested db:transaction, which is a savepoint" }, 0)
  elseif status == "idle" then
    error(errors.new { kind = "pg", code = "25P01", message = "db:transaction: the transaction was ended inside by a "
      .. "COMMIT or ROLLBACK of the script's own", hint = "leave both to db:transaction" }, 0)
  end
  local ok <const>, result = pcall(control, db, "COMMIT")
  if not ok then
    if errors.is(result, "pg") and db:status() == "closed" then
      result.retryable = false
      result.hint = "the connection was lost during COMMIT: whether it took place is unknown; look before doing it "
        .. "again"
    end
    error(result, 0)
  end
  if result.command == "ROLLBACK" then      -- what COMMIT of a failed transaction does, without an error
    error(errors.new { kind = "pg", code = "25P02", message = "db:transaction: the server rolled back instead of "
      .. "committing" }, 0)
  end
end

local function outermost(db, fn, opts)
  control(db, begin_sql(opts))
  local results <const> = table.pack(core.call(fn, db))
  if results[1] then
    local ok <const>, err <const> = pcall(commit, db)
    if ok then return results end
    results[1], results[2] = false, err
  end
  undo(db, "ROLLBACK")
  return results
end

local function nested(db, fn)
  control(db, "SAVEPOINT garun")    -- inner ones shadow outer ones of the same name
  local results <const> = table.pack(core.call(fn, db))
  if results[1] then
    local ok <const>, err <const> = pcall(control, db, "RELEASE SAVEPOINT garun")
    if ok then return results end
    results[1], results[2] = false, err
  end
  undo(db, "ROLLBACK TO SAVEPOINT garun; RELEASE SAVEPOINT garun")
  return results
end

local TRANSACTION_OPTIONS <const> = { "isolation", "read_only", "deferrable", "retries" }

local function may_repeat(err)
  return errors.is(err, "pg") and (err.code == "40001" or err.code == "40P01")
end

function conn:transaction(fn, opts)
  if type(fn) ~= "function" then usage("db:transaction: a function is expected, got " .. type(fn)) end
  opts = errors.check_options("db:transaction", opts, TRANSACTION_OPTIONS)
  local retries <const> = opts.retries or 0
  if math.type(retries) ~= "integer" or retries < 0 then
    usage("db:transaction: option 'retries' must be an integer, 0 or more")
  end
  local results
  if self:in_transaction() then
    if opts.isolation or opts.read_only or opts.deferrable or retries > 0 then
      usage("db:transaction: a nested transaction is a savepoint and takes no options; give them to the outer one")
    end
    results = nested(self, fn)
  else
    for attempt = 0, retries do
      results = outermost(self, fn, opts)
      if results[1] or attempt == retries or not may_repeat(results[2]) or self:status() ~= "idle" then break end
    end
  end
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

---- COPY ----

local COPY_OPTIONS <const> = { "format", "delimiter", "null", "header", "freeze", "timeout" }
local FORMATS <const> = { text = "text", csv = "csv", binary = "binary" }

local function is_copy(sql)
  return sql:match("^%s*[Cc][Oo][Pp][Yy]%s") ~= nil
end

local function copy_tail(fn, opts)
  local format <const> = FORMATS[opts.format or "text"]
  if not format then
    usage(string.format("%s: unknown format %q; known are text, csv and binary", fn, tostring(opts.format)))
  end
  local with <const> = { "FORMAT " .. format }
  for _, name in ipairs { "delimiter", "null" } do
    if opts[name] ~= nil then with[#with + 1] = name:upper() .. " " .. text.literal(opts[name]) end
  end
  for _, name in ipairs { "header", "freeze" } do
    if opts[name] then with[#with + 1] = name:upper() .. " true" end
  end
  -- row() writes the default text format; another delimiter or NULL mark is for ready data.
  return " WITH (" .. table.concat(with, ", ") .. ")", format == "text" and opts.delimiter == nil and opts.null == nil
end

local function column_list(columns)
  if columns == nil then return "" end
  local list <const> = {}
  for i, name in ipairs(columns) do list[i] = text.ident(name) end
  return #list > 0 and " (" .. table.concat(list, ", ") .. ")" or ""
end

local function copy_sql(fn, direction, what, columns, opts)
  opts = errors.check_options(fn, opts, COPY_OPTIONS)
  if type(what) == "string" and is_copy(what) then
    if columns ~= nil then usage(fn .. ": a COPY statement names its own columns") end
    local plain <const> = not what:lower():find("[^%w_](csv)[^%w_]") and not what:lower():find("delimiter", 1, true)
    return what, plain, opts.timeout
  end
  if columns ~= nil and type(columns) ~= "table" then
    usage(fn .. ": columns must be a list of names, got " .. type(columns))
  end
  local tail <const>, plain <const> = copy_tail(fn, opts)
  local source
  if direction == "TO STDOUT" and type(what) == "string" and what:match("^%s*%(?%s*%a+%s") then
    if columns ~= nil then usage(fn .. ": a query names its own columns") end
    source = "(" .. what .. ")"
  else
    source = text.table_name(fn, what) .. column_list(columns)
  end
  return "COPY " .. source .. " " .. direction .. tail, plain, opts.timeout
end

function conn:copy_in(what, columns, opts)
  local sql <const>, plain <const>, timeout <const> = copy_sql("db:copy_in", "FROM STDIN", what, columns, opts)
  return core.copy_in_sql(self, { sql, timeout = timeout }, plain)
end

function conn:copy_out(what, columns, opts)
  local sql <const>, plain <const>, timeout <const> = copy_sql("db:copy_out", "TO STDOUT", what, columns, opts)
  return core.copy_out_sql(self, { sql, timeout = timeout }, plain)
end

---- pipelines ----

local pipeline <const> = {}
pipeline.__index = pipeline
pipeline.__name = "pg.pipeline"
pipeline.__metatable = false

local function add(p, want, sql, ...)
  if type(sql) ~= "string" then usage("pipeline: the SQL text must be a string, got " .. type(sql)) end
  if is_copy(sql) then
    usage("pipeline: COPY is not possible in a pipeline", "use db:copy_in or db:copy_out outside of it")
  end
  local list <const> = p.list
  list[#list + 1] = { sql, want, select("#", ...), core.texts("pipeline", ...) }
  return #list
end

function pipeline:query(sql, ...) return add(self, "rows", sql, ...) end
function pipeline:exec(sql, ...) return add(self, "count", sql, ...) end

function conn:pipeline(fn, opts)
  if type(fn) ~= "function" then usage("db:pipeline: a function is expected, got " .. type(fn)) end
  opts = errors.check_options("db:pipeline", opts, { "timeout" })
  local p <const> = setmetatable({ list = {} }, pipeline)
  fn(p)
  if #p.list == 0 then return { n = 0 } end
  return core.pipeline_run(self, p.list, opts.timeout)
end

---- notifications ----

function conn:listen(channel)
  self:exec { "LISTEN " .. text.ident(channel), prepare = false }
end

function conn:unlisten(channel)
  self:exec { "UNLISTEN " .. (channel and text.ident(channel) or "*"), prepare = false }
end

function conn:notify(channel, payload)
  self:exec("SELECT pg_catalog.pg_notify($1, $2)", channel, payload or "")
end

function conn:notifications(timeout)
  return function() return self:notification(timeout) end
end

return conn
