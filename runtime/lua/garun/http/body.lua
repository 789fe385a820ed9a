-- garun.http.body: the body of a request, from the options json, form, multipart or body.
--
-- A body is { type = content type or nil, text = string } or { type, length = bytes or nil, open = function }: open()
-- gives a source from the beginning; `once` says that it can do so one time only.

local errors <const> = require "garun.error"
local json <const> = require "garun.json"
local url <const> = require "garun.http.url"

local body <const> = {}

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 0)
end

local kinds <const> = { "json", "form", "multipart", "body" }

local function of_file(file)
  local start <const> = file:seek()
  return {
    length = file:size() - start,
    open = function()
      file:seek("set", start)
      return file:chunks()
    end,
  }
end

local function of_body(fn, value)
  local kind <const> = type(value)
  if kind == "string" then return { text = value } end
  if kind == "function" then
    local used = false
    return { once = true, open = function()
      if used then
        error(errors.new { kind = "http", code = "body",
          message = fn .. ": the body comes from a function and cannot be sent again" }, 0)
      end
      used = true
      return value
    end }
  end
  local meta <const> = kind == "userdata" and value.chunks and value.size
  if meta then return of_file(value) end
  return misuse("%s: body is a string, a function that gives its chunks, or an open file, not a %s", fn, kind)
end

-- nil when the request has none.
function body.of(fn, opts)
  local given
  for _, kind in ipairs(kinds) do
    if opts[kind] ~= nil then
      if given then misuse("%s: give %s or %s, not both", fn, given, kind) end
      given = kind
    end
  end
  if given == "json" then return { text = json.encode(opts.json), type = "application/json" } end
  if given == "form" then
    if type(opts.form) ~= "table" then misuse("%s: form is a table, not a %s", fn, type(opts.form)) end
    return { text = url.pairs(fn .. ": form", opts.form), type = "application/x-www-form-urlencoded" }
  end
  if given == "multipart" then return require("garun.http.multipart").of(fn, opts.multipart) end
  if given == "body" then return of_body(fn, opts.body) end
  return nil
end

return body
