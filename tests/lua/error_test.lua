-- garun.error: error objects, their text, wrapping, and the "did you mean" of option tables.
local t <const> = require "garun.test"
local errors <const> = require "garun.error"

t.test("an error object has the fields it was given", function()
  local e <const> = errors.new {
    kind = "http", code = 503, message = "busy", detail = "d", hint = "h", retryable = true,
  }
  t.equal({ e.kind, e.code, e.message, e.detail, e.hint, e.retryable }, { "http", "503", "busy", "d", "h", true })
end)

t.test("kind and retryable have defaults, a string alone is the message", function()
  local e <const> = errors.new "it broke"
  t.equal({ e.kind, e.message, e.retryable, e.code }, { "error", "it broke", false })
end)

t.test("its text is kind and message, with detail and hint on lines of their own", function()
  t.equal(tostring(errors.new { kind = "pg", message = "no such table" }), "pg: no such table")
  t.equal(tostring(errors.new { kind = "pg", message = "m", detail = "one\ntwo", hint = "look" }),
    "pg: m\n  detail: one\n    two\n  hint: look")
end)

t.test("it joins with strings on either side", function()
  local e <const> = errors.new { kind = "fs", message = "gone" }
  t.equal("a " .. e, "a fs: gone")
  t.equal(e .. " b", "fs: gone b")
  t.equal(e .. e, "fs: gonefs: gone")
end)

t.test("it passes through error() and pcall() unchanged", function()
  local e <const> = errors.new "x"
  local ok <const>, caught <const> = pcall(error, e)
  t.ok(not ok and rawequal(caught, e))
end)

t.test("printing one never fails, whatever a script did to its fields", function()
  local e <const> = errors.new "x"
  e.message, e.kind, e.detail = nil, nil, {}
  t.equal(tostring(e), "error: (no message)")
  e.message = 12
  t.equal(tostring(e), "error: 12")
end)

t.test("zero bytes in a message survive", function()
  t.equal(tostring(errors.new { message = "a\0b" }), "error: a\0b")
end)

t.test("the metatable is out of reach", function()
  t.equal(getmetatable(errors.new "x"), false)
  t.raises("protected metatable", setmetatable, errors.new "x", {})
end)

t.test("is() tells error objects from others, and kinds apart", function()
  local e <const> = errors.new { kind = "pg", message = "m" }
  t.equal({ errors.is(e), errors.is(e, "pg"), errors.is(e, "fs") }, { true, true, false })
  t.equal({ errors.is "m", errors.is { kind = "pg", message = "m" }, errors.is(nil) }, { false, false, false })
end)

t.test("wrap() puts the context in front and keeps the rest", function()
  local e <const> = errors.new { kind = "pg", code = "23505", message = "duplicate", hint = "h", retryable = true }
  local w <const> = errors.wrap(e, "while loading 2024-01-05")
  t.equal({ w.kind, w.code, w.message, w.hint, w.retryable },
    { "pg", "23505", "while loading 2024-01-05: duplicate", "h", true })
  t.ok(rawequal(w.cause, e))
  t.equal(e.message, "duplicate", "the old one is as it was")
  t.equal(errors.wrap(w, "day").message, "day: while loading 2024-01-05: duplicate")
end)

t.test("wrap() makes objects of strings and other values", function()
  local w <const> = errors.wrap("a.lua:1: boom", "ctx")
  t.ok(errors.is(w, "error"))
  t.equal({ w.message, w.cause }, { "ctx: a.lua:1: boom", "a.lua:1: boom" })
  t.equal(errors.wrap(nil, "ctx").message, "ctx: nil")
  t.match(errors.wrap({}, "ctx").message, "^ctx: table")
end)

t.test("an error remembers the line of the script that made it", function()
  t.match(errors.new("x").at, "error_test%.lua:%d+$")
end)

t.test("an unknown field is refused with the nearest name", function()
  local e <const> = t.raises({ kind = "usage" }, errors.new, { mesage = "x" })
  t.match(e.message, "unknown option 'mesage', did you mean 'message'%?")
end)

t.test("a message is required, and fields have types", function()
  t.raises("'message' is missing", errors.new, { kind = "x" })
  t.raises("'retryable' must be true or false, got number", errors.new, { message = "m", retryable = 1 })
  t.raises("'code' must be a string or an integer, got table", errors.new, { message = "m", code = {} })
  t.raises("'hint' must be a string, got number", errors.new, { message = "m", hint = 5 })
end)

t.test("nearest() finds what was meant and nothing for what was not", function()
  local names <const> = { "timeout", "database", "host", "concurrency" }
  for word, want in pairs {
    databse = "database", tiemout = "timeout", Timeout = "timeout", hots = "host", concurency = "concurrency",
  } do
    t.equal(errors.nearest(word, names), want, word)
  end
  for _, word in ipairs { "password", "x", "", "ho", ("timeout"):rep(20) } do
    t.equal(errors.nearest(word, names), nil, word)
  end
end)

t.test("check_options() gives the options back, a table for nil, and refuses unknown ones", function()
  local opts <const> = { level = 1 }
  t.ok(rawequal(errors.check_options("gzip.reader", opts, { "level" }), opts))
  t.equal(errors.check_options("gzip.reader", nil, { "level" }), {})
  t.raises("gzip%.reader: unknown option 'levle', did you mean 'level'%?", errors.check_options, "gzip.reader",
    { levle = 1 }, { "level" })
  t.raises("gzip%.reader: unknown option 'zzz', known are: level, size", errors.check_options, "gzip.reader",
    { zzz = 1 }, { "level", "size" })
  t.raises("options must be a table, got string", errors.check_options, "f", "level", { "level" })
  t.raises("option names are strings", errors.check_options, "f", { 1 }, { "level" })
end)
