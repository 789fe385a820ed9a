-- garun.http.multipart: multipart/form-data bodies (RFC 7578). Files are read while they are sent, never held whole.

local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"

local multipart <const> = {}

local part_options <const> = { "name", "content", "file", "filename", "type" }

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 0)
end

-- As browsers do (WHATWG HTML, multipart/form-data): what would end the quoted text or the line is percent-encoded.
local function quoted(text)
  return '"' .. text:gsub('[\r\n"]', function(c) return string.format("%%%02X", c:byte()) end) .. '"'
end

-- Options of one part from the short form name = value or the long one.
local function part_of(fn, name, value)
  if type(value) ~= "table" then value = { content = value } end
  local part <const> = {}
  for k, v in pairs(errors.check_options(fn .. ": multipart part", value, part_options)) do part[k] = v end
  part.name = part.name or name
  if type(part.name) ~= "string" or part.name == "" then misuse("%s: a part of multipart has no name", fn) end
  local kind <const> = type(part.content)
  if kind == "number" or kind == "boolean" then part.content = tostring(part.content) end
  if (part.content == nil) == (part.file == nil) then
    misuse("%s: part '%s' has content or file, one of them", fn, part.name)
  end
  if part.content ~= nil and type(part.content) ~= "string" then
    misuse("%s: content of part '%s' is a string, a number or a boolean, not a %s", fn, part.name, kind)
  end
  if part.type and (type(part.type) ~= "string" or part.type:find("[%c]")) then
    misuse("%s: type of part '%s' is a content type", fn, part.name)
  end
  if part.file then
    local stat <const> = fs.stat(part.file)
    if not stat or stat.type ~= "file" then misuse("%s: part '%s': %s is no file", fn, part.name, part.file) end
    part.size = stat.size
    part.filename = part.filename or fs.basename(part.file)
    part.type = part.type or "application/octet-stream"
  end
  return part
end

local function parts_of(fn, fields)
  local parts <const> = {}
  if type(fields) ~= "table" then misuse("%s: multipart is a table, not a %s", fn, type(fields)) end
  if fields[1] ~= nil then
    for _, value in ipairs(fields) do parts[#parts + 1] = part_of(fn, nil, value) end
  else
    local names <const> = {}
    for name in pairs(fields) do names[#names + 1] = tostring(name) end
    table.sort(names)
    for _, name in ipairs(names) do parts[#parts + 1] = part_of(fn, name, fields[name]) end
  end
  if #parts == 0 then misuse("%s: multipart has no part", fn) end
  return parts
end

local function head_of(part, boundary)
  local lines <const> = { "--" .. boundary, "Content-Disposition: form-data; name=" .. quoted(part.name)
    .. (part.filename and "; filename=" .. quoted(part.filename) or "") }
  if part.type then lines[#lines + 1] = "Content-Type: " .. part.type end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- A source of the file that gives exactly as many bytes as were promised.
local function file_source(part)
  local read <const> = fs.source(part.file)
  local left = part.size
  return function()
    local chunk <const> = read()
    left = left - (chunk and #chunk or 0)
    if left < 0 or not chunk and left > 0 then
      error(errors.new { kind = "http", code = "body", retryable = true,
        message = part.file .. " changed its size while it was sent" }, 0)
    end
    return chunk
  end
end

function multipart.of(fn, fields)
  local parts <const> = parts_of(fn, fields)
  local boundary <const> = "garun-" .. crypto.hex_encode(crypto.random(16))
  local tail <const> = "--" .. boundary .. "--\r\n"
  local length, files = #tail, false
  local pieces <const> = {}      -- strings and parts with a file
  for _, part in ipairs(parts) do
    local head <const> = head_of(part, boundary)
    length = length + #head + (part.size or #part.content) + 2
    files = files or part.file ~= nil
    table.move({ head, part.file and part or part.content, "\r\n" }, 1, 3, #pieces + 1, pieces)
  end
  pieces[#pieces + 1] = tail
  local kind <const> = "multipart/form-data; boundary=" .. boundary
  if not files then return { text = table.concat(pieces), type = kind } end
  return { type = kind, length = length, open = function()
    local at, inner = 0, nil
    return function()
      while true do
        local chunk <const> = inner and inner()
        if chunk then return chunk end
        inner, at = nil, at + 1
        local piece <const> = pieces[at]
        if piece == nil then return nil end
        if type(piece) == "string" then
          if piece ~= "" then return piece end
        else
          inner = file_source(piece)
        end
      end
    end
  end }
end

return multipart
