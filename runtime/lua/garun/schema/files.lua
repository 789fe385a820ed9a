-- garun.schema.files: the files of sql/, read, ordered and checked, before any of them touches a database.
--
--   tables/NAME.sql      one table and its indexes; the order is the caller's, else that of their REFERENCES
--   runtime/NAME.sql     garun's own tables, schema garun
--   functions/NAME.sql   CREATE OR REPLACE FUNCTION, run every time
--   indexes/NAME.sql     indexes that are not part of a table's file
--   migrations/NNNN_name.sql
--
-- It owns nothing and knows no connection.

local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local split <const> = require "garun.schema.split"

local files <const> = {}

-- These would end or escape the one transaction in which everything is done.
local FORBIDDEN <const> = {
  begin = true, start = true, commit = true, ["end"] = true, rollback = true, abort = true, prepare = true,
  savepoint = true, release = true, vacuum = true,
}

local function fail(code, hint, format, ...)
  error(errors.new { kind = "schema", code = code, message = string.format(format, ...), hint = hint }, 0)
end

local function read(dir, room, name)
  local shown <const> = string.format("sql/%s/%s.sql", room, name)
  -- A checkout with CRLF line ends is the same file.
  local text <const> = fs.read(string.format("%s/%s/%s.sql", dir, room, name)):gsub("\r\n", "\n")
  local statements <const> = split(text, shown)
  for _, s in ipairs(statements) do
    if FORBIDDEN[s.word] then
      fail("transaction", "take it out: init_db does all files in one transaction", "%s:%d: %s is not possible here",
        shown, s.line, s.word:upper())
    end
  end
  local makes = false
  for _, s in ipairs(statements) do
    makes = makes or s.text:upper():find("^CREATE%s+%u*%s*TABLE%s") ~= nil
      or s.text:upper():find("^CREATE%s+%u*%s*INDEX%s") ~= nil
  end
  return { name = name, room = room, shown = shown, text = text, statements = statements, makes = makes }
end

-- The names, without ".sql", of the files of a directory, sorted; none when there is no such directory.
local function names(dir, room)
  local list <const> = {}
  local path <const> = dir .. "/" .. room
  if not fs.exists(path) then return list end
  for _, entry in ipairs(fs.list(path)) do
    local name <const> = entry:match("^([%w_][%w_.-]*)%.sql$")
    if name then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

local function read_room(dir, room)
  local list <const> = {}
  for i, name in ipairs(names(dir, room)) do list[i] = read(dir, room, name) end
  return list
end

-- The tables a file's foreign keys name, without schema and quotes.
local function references(file)
  local found <const> = {}
  for _, s in ipairs(file.statements) do
    for name in s.text:lower():gmatch("references%s+([%w_.\"]+)") do
      found[#found + 1] = name:gsub('"', ""):match("[^.]*$")
    end
  end
  return found
end

-- What a file of functions makes, and the functions of schema garun that its texts name.
local function made_and_called(file)
  local made <const>, called <const> = {}, {}
  for _, s in ipairs(file.statements) do
    local name <const> = s.text:lower():match("^create%s+or%s+replace%s+function%s+([%w_.]+)")
    if name then made[#made + 1] = name end
    for other in s.text:lower():gmatch("garun%.[%w_]+") do called[#called + 1] = other end
  end
  return made, called
end

-- Sorts files so that one comes after those it refers to; otherwise by name. A circle stays in the order of names:
-- PostgreSQL then says which reference fails. needs(file): the files it refers to.
local function sorted_by(list, needs)
  local state <const>, sorted <const> = {}, {}
  local function visit(f)
    if state[f] then return end
    state[f] = true
    for _, other in ipairs(needs(f)) do visit(other) end
    sorted[#sorted + 1] = f
  end
  for _, f in ipairs(list) do visit(f) end
  return sorted
end

local function by_reference(list)
  local by_name <const> = {}
  for _, f in ipairs(list) do by_name[f.name] = f end
  return sorted_by(list, function(f)
    local others <const> = {}
    for _, name in ipairs(references(f)) do others[#others + 1] = by_name[name] end
    return others
  end)
end

-- The body of a function in SQL is checked when it is made, so what it calls must be there.
local function by_call(list)
  local maker <const>, calls <const> = {}, {}
  for _, f in ipairs(list) do
    local made <const>, called <const> = made_and_called(f)
    for _, name in ipairs(made) do maker[name] = f end
    calls[f] = called
  end
  return sorted_by(list, function(f)
    local others <const> = {}
    for _, name in ipairs(calls[f]) do others[#others + 1] = maker[name] end
    return others
  end)
end

local function in_order(list, order)
  local by_name <const>, sorted <const> = {}, {}
  for _, f in ipairs(list) do by_name[f.name] = f end
  for i, name in ipairs(order) do
    local f <const> = by_name[name]
    if not f then
      fail("order", "make the file, or take the name out of TABLE_CREATION_ORDER",
        "TABLE_CREATION_ORDER names %s, but there is no file sql/tables/%s.sql", tostring(name), tostring(name))
    end
    sorted[i], by_name[name] = f, nil
  end
  local left <const> = next(by_name)
  if left then
    fail("order", "add it after the tables it refers to", "sql/tables/%s.sql is not in TABLE_CREATION_ORDER", left)
  end
  return sorted
end

local function migrations(dir)
  local list <const> = {}
  for _, name in ipairs(names(dir, "migrations")) do
    local digits <const>, title <const> = name:match("^(%d%d%d%d)_([%w_]+)$")
    if not digits or digits == "0000" then
      fail("migration", nil, "sql/migrations/%s.sql: a migration is called NNNN_what_it_does.sql, from 0001 on", name)
    end
    local version <const> = math.tointeger(tonumber(digits))
    local hint <const> = "migrations are numbered 0001, 0002, ... without a gap"
    if version <= #list then
      fail("migration", hint, "sql/migrations/%s.sql: the number %04d is taken by %s.sql", name, version,
        list[version].name)
    elseif version > #list + 1 then
      fail("migration", hint, "sql/migrations/%s.sql: migration %04d is missing before it", name, #list + 1)
    end
    local f <const> = read(dir, "migrations", name)
    f.version, f.title, f.checksum = version, title, crypto.sha256(f.text)
    list[#list + 1] = f
  end
  return list
end

--- Reads and checks everything: {tables, runtime, functions, indexes, migrations}, each a list of {name, room, shown,
--- text, statements, makes} in the order in which it is to be run; makes says whether the file makes a table or an
--- index, migrations have version, title and checksum besides.
--- `order` is the list of the tables' names, nil for the order of their references. Raises errors of kind "schema".
function files.read(dir, order)
  if not fs.exists(dir .. "/tables") then
    fail("missing", "run it from the checkout, or set GARUN_HOME to the directory that holds sql/",
      "%s holds no directory tables/: the SQL files are not there", dir)
  end
  local tables <const> = read_room(dir, "tables")
  return {
    tables = order and in_order(tables, order) or by_reference(tables),
    runtime = by_reference(read_room(dir, "runtime")),
    functions = by_call(read_room(dir, "functions")),
    indexes = read_room(dir, "indexes"),
    migrations = migrations(dir),
  }
end

return files
