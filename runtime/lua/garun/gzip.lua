-- garun.gzip: compressed streams, as sources and sinks.
--
-- garun.core.gzip inflates and deflates what it is given; pulling from a source and pushing into a sink may wait, so it
-- is done here.

local core <const> = require "garun.core.gzip"
local tasks <const> = require "garun.core.task"
local errors <const> = require "garun.error"

local gzip <const> = {}

local SLICE <const> = 256 << 10
local DECOMPRESS_MAX <const> = 64 << 20

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 3)
end

local reader_options <const> = { "format", "max_bytes", "max_ratio", "name" }

local function new_inflater(fn, opts, max_bytes)
  opts = errors.check_options(fn, opts, reader_options)
  local max <const>, ratio <const> = opts.max_bytes or max_bytes, opts.max_ratio
  if max ~= nil and (math.type(max) ~= "integer" or max < 1) then
    misuse("%s: max_bytes is a number of bytes from 1", fn)
  end
  if ratio ~= nil and (type(ratio) ~= "number" or not (ratio >= 1)) then
    misuse("%s: max_ratio is a number from 1", fn)
  end
  return core.inflater(opts.format, max, ratio, opts.name)
end

function gzip.is(chunk)
  return type(chunk) == "string" and chunk:find("^\x1f\x8b") ~= nil
end

function gzip.reader(source, opts)
  if type(source) ~= "function" then
    misuse("gzip.reader: takes a source (fs.source(path)), not a %s; for a string use gzip.decompress", type(source))
  end
  local inflater <const> = new_inflater("gzip.reader", opts)
  local state = "reading"
  return function()
    if state == "ended" then return nil end
    local chunk
    while true do
      local out <const> = inflater:next(chunk, state == "last")
      if out then return out end
      if state == "last" then
        state = "ended"
        return nil
      end
      chunk = source()
      if chunk == nil then state = "last" end
    end
  end
end

function gzip.decompress(data, opts)
  if type(data) ~= "string" then misuse("gzip.decompress: data is a string, not a %s", type(data)) end
  local inflater <close> = new_inflater("gzip.decompress", opts, DECOMPRESS_MAX)
  local parts <const> = {}
  local out = inflater:next(data, true)
  while out do
    parts[#parts + 1] = out
    out = inflater:next(nil, true)
  end
  return table.concat(parts)
end

local writer_options <const> = { "level", "format" }

local function new_deflater(fn, opts)
  opts = errors.check_options(fn, opts, writer_options)
  if opts.level ~= nil and math.type(opts.level) ~= "integer" then
    misuse("%s: level is a whole number from 0 to 9", fn)
  end
  return core.deflater(opts.format, opts.level)
end

function gzip.writer(sink, opts)
  local deflater <const> = new_deflater("gzip.writer", opts)
  local ended = false
  return function(chunk)
    if chunk == nil then
      if ended then return end
      ended = true
      sink(deflater:put("", true))
      return sink(nil)
    end
    for at = 1, #chunk, SLICE do
      if at > 1 then tasks.sleep(0) end      -- a slice takes milliseconds: the others get their turn
      local out <const> = deflater:put(#chunk <= SLICE and chunk or chunk:sub(at, at + SLICE - 1))
      if out ~= "" then sink(out) end
    end
  end
end

function gzip.compress(data, opts)
  if type(data) ~= "string" then misuse("gzip.compress: data is a string, not a %s", type(data)) end
  return new_deflater("gzip.compress", opts):put(data, true)
end

return gzip
