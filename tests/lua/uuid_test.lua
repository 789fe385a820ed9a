-- garun.uuid: versions 4 and 7, reading and writing.
local t <const> = require "garun.test"
local uuid <const> = require "garun.uuid"

local V7 <const> = "017F22E2-79B0-7CC3-98C4-DC0C0C07398F"      -- RFC 9562, A.6: 2022-02-22 19:22:22 UTC

t.test("v4 and v7 have their version and variant and never repeat", function()
  local seen <const> = {}
  for _ = 1, 2000 do
    for version, id in pairs { [4] = uuid.v4(), [7] = uuid.v7() } do
      t.match(id, "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-" .. version .. "%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$")
      t.equal(id, id:lower())
      t.ok(not seen[id])
      seen[id] = true
      t.equal(uuid.version(id), version)
    end
  end
end)

t.test("v7 sorts by the order of making and holds the time", function()
  local before <const>, last = os.time(), ""
  for _ = 1, 5000 do
    local id <const> = uuid.v7()
    t.ok(id > last)
    last = id
  end
  t.ok(uuid.time(last) >= before - 1 and uuid.time(last) <= os.time() + 2)
  t.equal(uuid.time(V7), 1645557742.0)
end)

t.test("parse reads the usual forms and gives the canonical one", function()
  local canonical <const> = V7:lower()
  for _, form in ipairs { V7, canonical, "{" .. V7 .. "}", "urn:uuid:" .. canonical, (V7:gsub("-", "")) } do
    t.equal(uuid.parse(form), canonical, form)
    t.ok(uuid.is(form))
  end
end)

t.test("what is no UUID is refused", function()
  for _, bad in ipairs {
    "", "x", V7 .. "0", V7:sub(2), V7:gsub("F", "G"), "{" .. V7, V7:gsub("-", "_"), " " .. V7, V7 .. "\0", "urn:uuid:",
  } do
    t.ok(not uuid.is(bad), bad)
    t.raises({ kind = "uuid", code = "syntax" }, uuid.parse, bad)
  end
  t.ok(not uuid.is(nil) and not uuid.is(12) and not uuid.is {})
  t.raises("text must be a string, got nil", uuid.parse, nil)
  t.ok(utf8.len(t.raises("is not a UUID", uuid.parse, ("ä"):rep(30)).message))
end)

t.test("bytes and format are each other's inverse", function()
  t.equal(uuid.bytes(V7), "\x01\x7F\x22\xE2\x79\xB0\x7C\xC3\x98\xC4\xDC\x0C\x0C\x07\x39\x8F")
  t.equal(uuid.format(uuid.bytes(V7)), V7:lower())
  t.raises("bytes must be a string of 16 bytes", uuid.format, "short")
  t.raises("bytes must be a string of 16 bytes, got nil", uuid.format, nil)
end)

t.test("time refuses what holds none, null is all zero", function()
  t.raises("this is version 4", uuid.time, uuid.v4())
  t.equal(uuid.bytes(uuid.null), ("\0"):rep(16))
end)
