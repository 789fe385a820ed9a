-- garun.mail.header: header fields as bytes: what may be in one, encoded words (RFC 2047), folding, file names (RFC 2231).
--
-- One rule stands above all: no value can end its line. Control characters of any kind are refused, not replaced: who
-- puts a line break into a subject has a fault to find. The errors name the field.

local errors <const> = require "garun.error"
local printable <const> = require "garun.printable"

local M <const> = {}

local LINE <const> = 76           -- of a line with an encoded word (RFC 2047, 2); others may have 78
local WORD <const> = 75           -- of an encoded word
local LONGEST <const> = 998       -- of any line (RFC 5322, 2.1.1)

-- Raises kind "mail": "mail: subject: ...".
function M.fail(code, field, fmt, ...)
  error(errors.new { kind = "mail", code = code, message = string.format("mail: %s: " .. fmt, field, ...) }, 0)
end

-- The text as it may be shown in an error: short, and nothing in it that a terminal obeys.
function M.shown(text)
  if #text > 80 then text = text:sub(1, 77) .. "..." end
  return printable(text)
end

-- A string of valid UTF-8 without control characters, or an error.
function M.check(field, value)
  if type(value) ~= "string" then M.fail("type", field, "must be a string, got %s", type(value)) end
  local len <const>, bad <const> = utf8.len(value)
  if not len then M.fail("utf8", field, "is not valid UTF-8, at byte %d: %s", bad, M.shown(value)) end
  local at <const> = value:find("%c")
  if at then
    local c <const> = value:byte(at)
    M.fail("control", field, "has %s at byte %d; a header is one line without control characters",
      c == 10 and "a line feed" or c == 13 and "a carriage return" or c == 0 and "a NUL"
      or string.format("the control character 0x%02X", c), at)
  end
  local c1 <const> = value:find("\xC2[\x80-\x9F]")
  if c1 then M.fail("control", field, "has the control character U+%04X at byte %d", utf8.codepoint(value, c1), c1) end
  return value
end

---- encoded words ----

local function q_byte(c)
  if c == " " then return "_" end
  if c:find("^[%w!*+/-]$") then return c end      -- what a phrase allows (RFC 2047, 5 (3)); right in a text as well
  return string.format("=%02X", c:byte())
end

local base64 <const> = require("garun.crypto").base64_encode

local function b_word(text) return "=?UTF-8?B?" .. base64(text) .. "?=" end
local function q_word(text) return "=?UTF-8?Q?" .. text:gsub(".", q_byte) .. "?=" end

-- The text as encoded words, none longer than 75, each of whole characters. first: columns that the line has left for
-- the first one. Blanks between two encoded words do not count, so those of the text are inside.
function M.encoded_words(text, first)
  local _, others <const> = text:gsub("[^%w !*+/-]", "")
  local word <const> = others * 2 > #text // 3 and b_word or q_word
  local b <const> = word == b_word
  local words <const>, room, start, width = {}, math.min(first, WORD), 1, 0
  for from, code in utf8.codes(text) do
    local char <const> = utf8.char(code)
    local more <const> = b and #char or #(char:gsub(".", q_byte))
    local total <const> = 12 + (b and (width + more + 2) // 3 * 4 or width + more)
    if total > room then
      if from > start then
        words[#words + 1] = word(text:sub(start, from - 1))
        start, width = from, 0
      else
        words[#words + 1] = ""           -- not even one character fits behind the field's name
      end
      room = WORD
    end
    width = width + more
  end
  words[#words + 1] = word(text:sub(start))
  return words
end

---- folding ----

-- Puts tokens on lines of at most LINE columns; each token goes to the next line when it does not fit. A token that is
-- "" only ends the line.
local function fold(name, tokens)
  local lines <const>, line = {}, name .. ":"
  for i, token in ipairs(tokens) do
    if token == "" or #line + 1 + #token > LINE and (i > 1 or #name + 2 + #token > LONGEST) then
      if line:find("%S") then lines[#lines + 1] = line end
      line = ""
    end
    if token ~= "" then line = line .. " " .. token end
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\r\n") .. "\r\n"
end

-- ASCII that must be encoded all the same: blanks that folding or trimming would lose, what looks like an encoded word,
-- and words that fit no line.
local function awkward(text)
  if text:find("[\x80-\xFF]") or text:find("=?", 1, true) or text:find("^ ") or text:find(" $") or text:find("  ") then
    return true
  end
  for word in text:gmatch("%S+") do
    if #word > LINE - 1 then return true end
  end
  return false
end

-- A field of free text, as Subject.
function M.text(name, value)
  if value == "" then return name .. ":\r\n" end
  if awkward(value) then return fold(name, M.encoded_words(value, LINE - #name - 2)) end
  local words <const> = {}
  for word in value:gmatch("%S+") do words[#words + 1] = word end
  return fold(name, words)
end

-- A field whose value has a syntax of its own and must stay on its line: ids, URLs.
function M.line(name, value, field)
  local line <const> = name .. ": " .. value
  if #line > LONGEST then M.fail("long", field or name, "its line has %d bytes, %d are allowed", #line, LONGEST) end
  return line .. "\r\n"
end

-- A display name in front of an address (RFC 5322, phrase), as tokens. room: columns for the first of them.
local function phrase(name, room)
  if not name:find("[^%w!#$%%&'*+/=?^_`{|}~ -]") and not awkward(name) then
    local words <const> = {}
    for word in name:gmatch("%S+") do words[#words + 1] = word end
    return words
  end
  if not awkward(name) and #name < 60 then return { '"' .. name:gsub('[\\"]', "\\%0") .. '"' } end
  return M.encoded_words(name, room)
end

-- A field of addresses: a list of { name, address }.
function M.addresses(name, list)
  local tokens <const> = {}
  for i, a in ipairs(list) do
    local comma <const> = i < #list and "," or ""
    if a.name then
      for _, token in ipairs(phrase(a.name, LINE - #name - 2)) do tokens[#tokens + 1] = token end
      tokens[#tokens + 1] = "<" .. a.address .. ">" .. comma
    else
      tokens[#tokens + 1] = a.address .. comma
    end
  end
  return fold(name, tokens)
end

---- file names ----

local function percent(c)
  if c:find("^[%w._~-]$") then return c end
  return string.format("%%%02X", c:byte())
end

-- The name for readers that know ASCII only.
function M.ascii_name(name)
  return (name:gsub("[\xC2-\xF4][\x80-\xBF]*", "_"))
end

local function quoted(text) return '"' .. text:gsub('[\\"]', "\\%0") .. '"' end

-- Parameters of a file name: `name="text"`, in sections (RFC 2231, 3) when it is long, percent-encoded (4) when it is
-- not ASCII. Each is one token for M.fields.
function M.parameter(name, value)
  if not value:find("[\x80-\xFF]") and #name + #quoted(value) + 4 <= LINE then return { name .. "=" .. quoted(value) } end
  local parts <const>, part = {}, "UTF-8''"
  for _, code in utf8.codes(value) do
    local char <const> = utf8.char(code):gsub(".", percent)
    if #part + #char + #name + 8 > LINE then
      parts[#parts + 1] = part
      part = ""
    end
    part = part .. char
  end
  parts[#parts + 1] = part
  if #parts == 1 then return { name .. "*=" .. part } end
  for i, text in ipairs(parts) do parts[i] = string.format("%s*%d*=%s", name, i - 1, text) end
  return parts
end

-- A field with parameters: M.parameters("Content-Type", "text/csv", { 'charset="utf-8"' }).
function M.parameters(name, value, parameters)
  local tokens <const> = { value .. (parameters[1] and ";" or "") }
  for i, p in ipairs(parameters) do tokens[#tokens + 1] = p .. (i < #parameters and ";" or "") end
  return fold(name, tokens)
end

return M
