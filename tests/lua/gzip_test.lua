-- garun.gzip: what other programs compress is read, what is damaged is refused with its place.
local t <const> = require "garun.test"
local fs <const> = require "garun.fs"
local gzip <const> = require "garun.gzip"
local proc <const> = require "garun.proc"

-- A source of a string in pieces.
local function pieces(data, size)
  local at = 1
  return function()
    if at > #data then return nil end
    at = at + size
    return data:sub(at - size, at - 1)
  end
end

local function drain(source)
  local parts <const> = {}
  for chunk in source do parts[#parts + 1] = chunk end
  return table.concat(parts)
end

local function collect()
  local parts <const> = {}
  return function(chunk) if chunk then parts[#parts + 1] = chunk else parts.ended = (parts.ended or 0) + 1 end end,
    parts
end

local lines <const> = {}
for i = 1, 20000 do lines[i] = string.format('{"event_name":"page_view","n":%d,"id":"%x"}\n', i,
  i * 2654435761 & 0xffffffff) end
local text <const> = table.concat(lines)
local packed <const> = gzip.compress(text)

t.test("what gzip compresses is read, and the other way round", function()
  for level = 1, 9, 4 do
    local r <const> = proc.run { "gzip", "-" .. level, "-c", input = text }
    t.equal(r.status, 0)
    t.equal(gzip.decompress(r.stdout) == text, true)
  end
  local r <const> = proc.run { "gzip", "-dc", input = packed }
  t.equal(r.status, 0)
  t.equal(r.stdout == text, true)
  t.ok(gzip.is(packed) and not gzip.is(text) and not gzip.is(nil) and not gzip.is("\x1f"))
end)

t.test("the chunks of the source do not matter", function()
  local small <const> = gzip.compress(text:sub(1, 3000))
  for _, size in ipairs { 1, 2, 3, 10, 17, 1000 } do
    t.equal(drain(gzip.reader(pieces(small, size))), text:sub(1, 3000))
  end
  for _, size in ipairs { 100, 65536, 1 << 20 } do
    t.equal(drain(gzip.reader(pieces(packed, size))) == text, true)
  end
  for chunk in gzip.reader(pieces(packed, 5000)) do t.ok(#chunk > 0 and #chunk <= 262144) end
end)

t.test("members follow each other and zeros may follow the last one", function()
  for _, size in ipairs { 1, 7, 100000 } do
    local a <const>, b <const> = gzip.compress "one\n", gzip.compress "two\n"
    t.equal(drain(gzip.reader(pieces(a .. b .. gzip.compress "" .. a, size))), "one\ntwo\none\n")
    t.equal(drain(gzip.reader(pieces(a .. ("\0"):rep(1000), size))), "one\n")
    t.equal(drain(gzip.reader(pieces(a .. ("\0"):rep(512) .. b, size))), "one\ntwo\n")
  end
end)

t.test("a header with name, comment, extra field and checksum is passed over", function()
  local body <const> = packed:sub(11)
  t.equal(gzip.decompress("\x1f\x8b\8\x1c\0\0\0\0\0\3" .. "\4\0abcd" .. "name\0" .. "comment\0" .. body) == text, true)
  local r <const> = proc.run { "gzip", "-nc", input = "x" }
  t.equal(gzip.decompress(r.stdout), "x")
end)

t.test("cut input is an error at every length, and names the byte", function()
  local small <const> = gzip.compress(text:sub(1, 500))
  for n = 0, #small - 1 do
    local e <const> = t.raises({ kind = "gzip", code = "truncated" },
      function() drain(gzip.reader(pieces(small:sub(1, n), 10), { name = "x.gz" })) end)
    t.match(e.message, "^x%.gz: truncated at byte " .. n .. ":")
  end
  t.raises({ code = "truncated" }, gzip.decompress, packed:sub(1, -2))
end)

t.test("every flipped bit is an error or changes nothing that was compressed", function()
  local small <const> = gzip.compress(text:sub(1, 200))
  for at = 1, #small do
    for bit = 0, 7 do
      local bad <const> = small:sub(1, at - 1) .. string.char(small:byte(at) ~ (1 << bit)) .. small:sub(at + 1)
      local ok <const>, got <const> = pcall(gzip.decompress, bad)
      if ok then
        t.equal(got, text:sub(1, 200))
        -- The header's time, flags and system, and the bits that fill the last byte of the data, are under no checksum.
        t.ok(at >= 4 and at <= 10 or at == #small - 8, "byte " .. at)
      else
        t.equal(got.kind, "gzip")
      end
    end
  end
end)

t.test("checksum and length are checked", function()
  local at <const> = #packed
  t.raises({ code = "checksum" }, gzip.decompress, packed:sub(1, at - 8) .. "\1\2\3\4" .. packed:sub(at - 3))
  t.raises({ code = "length" }, gzip.decompress, packed:sub(1, at - 4) .. "\1\2\3\4")
end)

t.test("garbage behind the end is an error that says where", function()
  for _, junk in ipairs { "x", "\x1f", "\x1fx", "\x1f\x8bx", "\0\0x", "<html>" } do
    local e <const> = t.raises({ kind = "gzip" }, gzip.decompress, packed .. junk)
    local _, zeros <const> = junk:gsub("%z", "")
    if junk:find("^\x1f\x8b") == nil and junk ~= "\x1f" then
      t.equal(e.code, "trailing")
      t.match(e.message, "at byte " .. #packed + zeros .. "$")
    end
  end
end)

t.test("what is no gzip at all is described", function()
  for data, what in pairs { ["<!DOCTYPE html><html><body>Login</body>"] = "an HTML page",
    ['{"a":1}\n'] = "JSON that is not compressed",
    ["PK\3\4\20\0"] = "a zip archive", ["BZh91AY"] = "bzip2 data", ["\xfd7zXZ\0\0"] = "xz data",
      ["\x28\xb5\x2f\xfd\4"] = "Zstandard data",
    ["<?xml version='1.0'?><Error>"] = "an XML document", ["\x78\x9c\3\0"] = "a bare zlib stream",
      ["plain text"] = "its first bytes are: plain text",
    ["\0\1\2\27[2J"] = "\\x00\\x01\\x02\\x1b%[2J" } do
    local e <const> = t.raises({ kind = "gzip", code = "not_gzip" }, gzip.decompress, data, { name = "day.json.gz" })
    t.match(e.message, "^day%.json%.gz: this is not gzip data")
    t.match(e.detail, what)
  end
end)

t.test("after an error a reader does not pretend to have ended", function()
  local reader <const> = gzip.reader(pieces(packed:sub(1, 1000), 100))
  t.raises({ code = "truncated" }, function() drain(reader) end)
  t.raises({ kind = "gzip", code = "closed" }, reader)
  local good <const> = gzip.reader(pieces(gzip.compress "x", 100))
  t.equal({ good(), good(), good() }, { "x" })
end)

t.test("an error of the source comes through", function()
  t.raises("the disk is gone", function() drain(gzip.reader(function() error "the disk is gone" end)) end)
end)

t.test("bombs stop at their bounds", function()
  local bomb <const> = gzip.compress(("\0"):rep(64 << 20))
  t.ok(#bomb < 100000)
  t.raises({ code = "max_ratio" }, function() drain(gzip.reader(pieces(bomb, 1000), { max_ratio = 200 })) end)
  t.raises({ code = "max_bytes" }, function() drain(gzip.reader(pieces(bomb, 1000), { max_bytes = 1000000 })) end)
  t.raises({ code = "max_bytes" }, gzip.decompress, bomb .. bomb)
  t.equal(#drain(gzip.reader(pieces(bomb, 65536))), 64 << 20)
  t.equal(#gzip.decompress(bomb, { max_bytes = 64 << 20, max_ratio = 2000 }), 64 << 20)
end)

t.test("zlib and raw data, and telling them apart", function()
  for _, format in ipairs { "gzip", "zlib", "raw" } do
    local data <const> = gzip.compress(text, { format = format })
    t.equal(gzip.decompress(data, { format = format }) == text, true, format)
    for _, size in ipairs { 1, 1000 } do
      t.equal(drain(gzip.reader(pieces(data, size), { format = "auto" })) == text, true, format)
    end
    t.raises({ kind = "gzip" }, gzip.decompress, data .. "x", { format = format })
    t.raises({ code = "truncated" }, gzip.decompress, data:sub(1, -2), { format = format })
  end
  t.raises({ code = "not_gzip" }, gzip.decompress, packed, { format = "zlib" })
end)

t.test("a writer compresses into its sink and finishes it once", function()
  local sink <const>, parts <const> = collect()
  local put <const> = gzip.writer(sink, { level = 9 })
  for _, line in ipairs(lines) do put(line) end
  put(text)
  put(nil)
  put(nil)
  t.equal(parts.ended, 1)
  t.equal(gzip.decompress(table.concat(parts)) == text .. text, true)
  t.raises("finished already", put, "more")
  t.equal(gzip.decompress(gzip.compress("")), "")
  t.equal(gzip.compress("abc"), gzip.compress("abc"), "the same bytes give the same file")
end)

t.test("files go through in both directions", function()
  local dir <const> = t.tmpdir()
  local put <const> = gzip.writer(fs.sink(dir .. "/a.gz"))
  put(text)
  put(nil)
  local n = 0
  for line in fs.lines(gzip.reader(fs.source(dir .. "/a.gz", { chunk = 1000 }))) do
    n = n + 1
    if line .. "\n" ~= lines[n] then error("line " .. n) end
  end
  t.equal(n, #lines)
  t.equal(proc.run({ "gzip", "-t", dir .. "/a.gz" }).status, 0)
end)

t.test("misuse is told by name", function()
  t.raises("gzip.decompress: data is a string", gzip.decompress)
  t.raises("takes a source", gzip.reader, "text")
  t.raises("did you mean 'max_bytes'", gzip.reader, pieces("", 1), { maxbytes = 1 })
  t.raises("max_ratio is a number", gzip.reader, pieces("", 1), { max_ratio = 0 })
  t.raises("level is a whole number", gzip.compress, "", { level = 1.5 })
  t.raises("level is from 0", gzip.compress, "", { level = 10 })
  t.raises("invalid option 'lzma'", gzip.compress, "", { format = "lzma" })
end)
