-- garun.copy: whole COPYs in one call, on top of db:copy_in and db:copy_out. Each of them stores everything or nothing
-- and gives the number of rows by the server's count.

local errors <const> = require "garun.error"

local copy <const> = {}

local function usage(message, hint)
  error(errors.new { kind = "usage", message = message, hint = hint }, 0)
end

local function check_function(fn, value)
  if type(value) ~= "function" then usage(string.format("%s: a function is expected, got %s", fn, type(value))) end
end

-- Each call of next_row gives an array of one value per column, or nil at the end.
function copy.rows(db, what, columns, next_row)
  check_function("copy.rows", next_row)
  if type(columns) ~= "table" then
    usage("copy.rows: columns must be a list of names, got " .. type(columns))
  end
  local n <const> = #columns
  local out <close> = db:copy_in(what, columns)
  for row in next_row do
    out:row(table.unpack(row, 1, n))
  end
  return out:finish()
end

-- source gives chunks of COPY text (or of opts.format), cut anywhere.
function copy.text(db, what, columns, source, opts)
  check_function("copy.text", source)
  local out <close> = db:copy_in(what, columns, opts)
  for chunk in source do
    out:write(chunk)
  end
  return out:finish()
end

-- What `from` gives goes into a table of another connection as it is, without becoming Lua values.
function copy.between(from_db, from, to_db, what, columns)
  if from_db == to_db then
    usage("copy.between: two connections are needed, one reads while the other writes",
      "within one database use INSERT ... SELECT")
  end
  local input <close> = from_db:copy_out(from)
  local out <close> = to_db:copy_in(what, columns)
  for chunk in input:source() do
    out:write(chunk)
  end
  return out:finish()
end

return copy
