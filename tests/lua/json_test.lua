-- garun.json: every value survives the way there and back, and what is not JSON is refused with its place.
local t <const> = require "garun.test"
local json <const> = require "garun.json"

local function round(v, opts)
  return json.decode(json.encode(v, opts), { nulls = true })
end

t.test("integers are exact over all 64 bits", function()
  for _, i in ipairs { 0, 1, -1, 42, 1618065507111835497, math.maxinteger, math.mininteger, 2 ^ 53 // 1 | 0 } do
    t.equal(round(i), i)
  end
  t.equal(json.encode(math.mininteger), "-9223372036854775808")
  t.equal(json.decode "1618065507111835497", 1618065507111835497)
  for _ = 1, 2000 do
    local i <const> = math.random(0) >> math.random(0, 63)
    t.equal(round(i), i)
    t.equal(round(-i), -i)
  end
end)

t.test("integers beyond 64 bits keep their digits unless told otherwise", function()
  t.equal(json.decode "9223372036854775808", "9223372036854775808")
  t.equal(json.decode "-9223372036854775809", "-9223372036854775809")
  t.equal(json.decode("[123456789012345678901234567890]", { big = "float" }), { 123456789012345678901234567890.0 })
  t.raises("line 1, column 2: this number fits no 64%-bit integer", json.decode, "[9223372036854775808]",
    { big = "error" })
end)

t.test("floats are floats, exact, and as short as they can be", function()
  for _, case in ipairs {
    { 1.0, "1.0" }, { 0.1, "0.1" }, { -2.5, "-2.5" }, { 1 / 3, "0.3333333333333333" },
    { 0.1 + 0.2, "0.30000000000000004" }, { 5e-324, "5e-324" }, { 1.7976931348623157e308, "1.7976931348623157e+308" },
    { 12.34, "12.34" }, { 100.0, "100.0" }, { 2.0 ^ 53, "9007199254740992.0" }, { 1e100, "1e+100" },
    { 0.0001, "0.0001" }, { 123456.789, "123456.789" },
  } do
    local f <const>, want <const> = case[1], case[2]
    t.equal(json.encode(f), want)
    t.equal(json.decode(want), f)
  end
  t.equal(json.encode(-0.0), "-0.0")
  t.equal(1 / json.decode "-0.0", -1 / 0)
  t.equal(1 / json.decode "-0", -1 / 0)
  for _ = 1, 20000 do
    local f <const> = string.unpack("<d", string.pack("<i8", math.random(0)))
    if f == f and f ~= 1 / 0 and f ~= -1 / 0 then t.equal(round(f), f) end
    local money <const> = math.random(-10 ^ 9 // 1 | 0, 10 ^ 9 // 1 | 0) / 100
    t.equal(round(money), money)
    t.ok(#json.encode(money) <= 13)
  end
end)

t.test("numbers are read with all their forms, correctly rounded", function()
  for text, want in pairs {
    ["1e5"] = 1e5, ["1E+2"] = 100.0, ["-1.5e-3"] = -0.0015, ["0.0"] = 0.0, ["10.00000000000000000000001"] = 10.0,
    ["9007199254740993.0"] = 9007199254740992.0, ["123456789012345678.9"] = 123456789012345678.9, ["0e999999"] = 0.0,
    ["1e-400"] = 0.0, ["2.2250738585072011e-308"] = 2.2250738585072011e-308, ["1e23"] = 1e23, ["8.5e22"] = 8.5e22,
  } do
    t.equal(json.decode(text), want, text)
  end
  t.equal(json.decode "1e400", "1e400", "beyond a float: the digits")
  t.raises("beyond what a float holds", json.decode, "1e400", { big = "float" })
end)

t.test("the decimal point does not follow the locale", function()
  local old <const> = os.setlocale(nil, "numeric")
  if not (os.setlocale("de_DE.UTF-8", "numeric") or os.setlocale("de_DE", "numeric")) then t.skip "no German locale" end
  local text <const>, value <const> = json.encode(1 / 3), json.decode "0.12345678901234567890"
  os.setlocale(old, "numeric")
  t.equal({ text, value }, { "0.3333333333333333", 0.12345678901234567890 })
end)

t.test("NaN and infinity cannot be written", function()
  t.raises("^json: NaN cannot be written", json.encode, 0 / 0)
  t.raises("a%.b%[2%]: infinity cannot be written", json.encode, { a = { b = { 1, 1 / 0 } } })
end)

t.test("strings hold every character", function()
  local s <const> = "\0\1\31 \"\\/\127 é € 😀 \u{2028}\u{FFFF}\u{10FFFF}"
  t.equal(round(s), s)
  t.equal(json.encode "\0\b\f\n\r\t\31\"\\/é", [["\u0000\b\f\n\r\t\u001f\"\\/é"]])
  t.equal(json.decode [["\u0000\u0041\u00e9\u20AC\ud83d\ude00\/\b"]], "\0Aé€😀/\b")
  for n = 0, 40 do     -- every position within the scan's block of eight bytes
    local a <const> = ("a"):rep(n)
    for _, c in ipairs { "\"", "\\", "\n", "é", "\31", "😀" } do
      t.equal(round(a .. c .. "tail"), a .. c .. "tail")
    end
  end
end)

t.test("broken UTF-8 is refused both ways, or replaced on request", function()
  for _, bad in ipairs {
    "\xff", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3", "a\xe2\x82", "\x80",
  } do
    t.raises("broken UTF%-8", json.encode, bad)
    t.raises("broken UTF%-8", json.decode, '"' .. bad .. '"')
    t.ok(utf8.len(json.decode('"' .. bad .. '"', { utf8 = "replace" })))
    t.match(json.encode(bad, { utf8 = "replace" }), "\u{FFFD}")
  end
  t.equal(json.decode('"a\xffb"', { utf8 = "replace" }), "a\u{FFFD}b")
end)

t.test("unpaired surrogates are refused, or replaced on request", function()
  for _, bad in ipairs { [["\ud800"]], [["\udc00"]], [["\ud800\ud800"]], [["\ud800x"]], [["\ud83d\u0041"]] } do
    t.raises({ kind = "json", code = "utf8" }, json.decode, bad)
    t.match(json.decode(bad, { utf8 = "replace" }), "\u{FFFD}")
  end
  t.equal(json.decode([["\ud83d\u0041"]], { utf8 = "replace" }), "\u{FFFD}A")
end)

t.test("arrays and objects keep their kind, also when they are empty", function()
  for _, text in ipairs { "[]", "{}", "[[],{},[{}]]", '{"a":[]}' } do
    t.equal(json.encode(json.decode(text)), text)
  end
  t.equal(json.encode {}, "{}")
  t.equal(json.encode(json.array {}), "[]")
  t.equal(json.encode(json.array()), "[]")
  t.equal(json.encode(json.object {}), "{}")
  t.equal(json.encode(json.object(json.decode "[]")), "{}")
  t.equal(json.encode { 1, 2, 3 }, "[1,2,3]")
end)

t.test("is_array() says how a table would be written", function()
  t.equal({ json.is_array(json.decode "[]"), json.is_array {}, json.is_array { 1 }, json.is_array(json.object { 1 }),
    json.is_array "x", json.is_array(json.array {}) }, { true, false, true, false, false, true })
end)

t.test("null members are absent and null elements keep their place", function()
  local v <const> = json.decode '{"a":null,"b":[1,null,3]}'
  t.equal(v.a, nil)
  t.equal(v.b, { 1, json.null, 3 })
  t.equal(json.decode "null", nil)
  t.equal(json.encode(nil), "null")
  t.equal(json.encode(json.null), "null")
end)

t.test("option nulls keeps null members, so that a document survives", function()
  local v <const> = json.decode('{"a":null}', { nulls = true })
  t.equal(v.a, json.null)
  t.equal(json.encode(v), '{"a":null}')
  t.equal(json.decode("null", { nulls = true }), json.null)
end)

t.test("of equal names the last wins, or it is an error", function()
  t.equal(json.decode '{"a":1,"a":2}', { a = 2 })
  t.equal(json.decode '{"a":1,"a":null}', {})
  t.equal(json.decode '{"a":1,"\\u0061":3}', { a = 3 })
  local e <const> = t.raises({ code = "duplicate" }, json.decode, '{"a":1,\n"a":2}', { duplicates = "error" })
  t.match(e.message, "line 2, column 1: ")
  t.raises({ code = "duplicate" }, json.decode, '{"a":null,"a":null}', { duplicates = "error" })
  local parts <const> = {}
  for i = 1, 200 do parts[i] = ('"k%d":%d'):format(i, i) end
  local text <const> = "{" .. table.concat(parts, ",") .. "%s}"
  t.equal(json.decode(text:format "", { duplicates = "error" }).k200, 200)
  t.raises({ code = "duplicate" }, json.decode, text:format ',"k3":0', { duplicates = "error" })
  t.equal(json.decode(text:format ',"k3":0').k3, 0)
end)

t.test("large arrays and objects are complete", function()
  for _, n in ipairs { 63, 64, 65, 1023, 1024, 1025, 5000 } do
    local list <const>, map <const> = {}, {}
    for i = 1, n do
      list[i] = i
      map["k" .. i] = i
    end
    t.equal(round(list), list)
    t.equal(round(map), map)
    t.equal(#json.decode(json.encode(list)), n)
  end
end)

t.test("tables that JSON cannot say are refused with their path", function()
  for want, v in pairs {
    ["x%[2%]: an array with element 3 but without element 2"] = { x = { 1, { 1, nil, 3 } } },
    ['list: an array with the key "n"'] = { list = { 1, 2, n = 2 } },
    ["an array with the key 0; elements are numbered from 1"] = { [0] = 1 },
    ["an array with a key that is a float"] = { [1.5] = 1 },
    ["a: an object with a key that is a boolean"] = { a = { [true] = 1 } },
    ["f: a function cannot be written"] = { f = print },
    ["%[1%]: a thread cannot be written"] = { coroutine.create(print) },
  } do
    t.raises(want, json.encode, v)
  end
  t.raises("without element 2", json.encode, json.array { 1, nil, 3 })
  t.raises('the key "x"', json.encode, json.array { 1, x = 2 })
  t.raises('the key "x"', json.encode, json.array { x = 2 })
end)

t.test("arrays whose elements are in the hash part are written in order", function()
  local v <const> = {}
  for i = 20, 1, -1 do v[i] = i end
  t.equal(json.encode(v), "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]")
end)

t.test("json.object makes names of integers and refuses a clash", function()
  t.equal(json.decode(json.encode(json.object { [10] = "a", [2] = "b" })), { ["10"] = "a", ["2"] = "b" })
  t.equal(json.encode(json.object { [10] = "a", [2] = "b" }, { sort_keys = true }), '{"10":"a","2":"b"}')
  t.raises("integer key and the same key", json.encode, json.object { [1] = 1, ["1"] = 2 })
  t.raises("integer key and the same key", json.encode, json.object { [1] = 1, ["1"] = 2 }, { sort_keys = true })
end)

t.test("a class says by __jsontype what its tables are", function()
  local list <const> = setmetatable({ 1, 2, n = 2 }, { __jsontype = "array" })
  t.equal(json.encode(list), "[1,2]")
  t.equal(json.encode(setmetatable({}, { __jsontype = "array" })), "[]")
  t.equal(json.is_array(list), true)
  t.raises("has a metatable already", json.array, setmetatable({}, {}))
end)

t.test("nesting is bounded at 512 both ways, and cycles end there", function()
  local function nested(n) return ("["):rep(n) .. ("]"):rep(n) end
  t.equal(json.encode(json.decode(nested(512))), nested(512))
  t.raises("line 1, column 513: nested deeper than 512", json.decode, nested(513))
  local deep = json.array {}
  for _ = 1, 512 do deep = { deep } end
  t.raises("nested deeper than 512 levels", json.encode, deep)
  local cycle <const> = {}
  cycle.self = cycle
  t.raises("does the table contain itself", json.encode, cycle)
end)

t.test("what is not JSON is refused with line, column and excerpt", function()
  for text, want in pairs {
    [""] = "line 1, column 1: the text is empty",
    ["{\n  \"a\": 1,\n}"] = "line 3, column 1: a comma before '}' is not JSON",
    ["[1,]"] = "column 4: a comma before ']'",
    ["[1 2]"] = "column 4: expected ',' or ']' after an element, got '2'",
    ['{"a" 1}'] = "column 6: expected ':' after a member's name, got '1'",
    ["{a:1}"] = "column 2: expected a member's name in double quotes or '}', got 'a'",
    ["{'a':1}"] = "column 2: expected a member's name",
    ['{"a":1'] = "column 7: expected ',' or '}' after a member, got the end of the text",
    ['"abc'] = "column 1: this string has no closing quote",
    ['"abc\\'] = "column 1: this string has no closing quote",
    ['"abc\\"'] = "column 1: this string has no closing quote",
    ['"a\tb"'] = "column 3: control character 0x09 in a string; write it as \\u0009",
    ['"\\x"'] = "column 2: unknown escape",
    ['"\\u12G4"'] = "column 2: \\u needs four hexadecimal digits",
    ["01"] = "column 2: expected a number without leading zeros",
    ["-"] = "column 2: expected a digit after the minus",
    ["1."] = "column 3: expected a digit, got the end",
    ["1e+"] = "column 4: expected a digit",
    [".5"] = "column 1: expected a JSON value",
    ["+1"] = "column 1: expected a JSON value",
    ["NaN"] = "column 1: expected a JSON value",
    ["nul"] = "column 1: expected a JSON value",
    ["truex"] = "column 5: expected the end of the text after the value, got 'x'",
    ["1 2"] = "column 3: expected the end of the text",
    ["[1]\0"] = "column 4: expected the end of the text after the value, got byte 0x00",
    ["// c\n1"] = "column 1: expected a JSON value",
    ['["äöü", x]'] = "line 1, column 9: expected a JSON value",     -- columns are characters
  } do
    local e <const> = t.raises({ kind = "json" }, json.decode, text)
    t.ok(e.message:find(want, 1, true), text .. " -> " .. e.message)
    t.ok(utf8.len(e.message .. (e.detail or "")))
  end
  t.equal(t.raises("column 4", json.decode, "[1 2]").detail, "[1  >>> 2]")
  t.equal(t.raises("column 4", json.decode, "[1 2]", { excerpt = false }).detail, nil)
end)

t.test("white space and a byte order mark are passed over", function()
  t.equal(json.decode " \t\r\n[ 1 , 2 ] \n", { 1, 2 })
  t.equal(json.decode "\xEF\xBB\xBF{}", {})
end)

t.test("pretty text is indented, sorted and stable", function()
  local v <const> = { b = { 1, json.array {} }, a = { c = {} } }
  t.equal(json.encode(v, { pretty = true }),
    '{\n  "a": {\n    "c": {}\n  },\n  "b": [\n    1,\n    []\n  ]\n}')
  t.equal(json.encode({ 1 }, { indent = "\t" }), "[\n\t1\n]")
  t.equal(json.encode({ 1 }, { indent = 1 }), "[\n 1\n]")
  t.equal(json.encode({ z = 1, a = 2, aa = 3 }, { sort_keys = true }), '{"a":2,"aa":3,"z":1}')
  t.equal(round(v, { pretty = true }), v)
end)

t.test("option html makes text safe in a script element", function()
  local s <const> = "</script><!-- & \u{2028}\u{2029} é"
  local text <const> = json.encode({ s }, { html = true })
  t.equal(text, [=[["\u003c/script\u003e\u003c!-- \u0026 \u2028\u2029 é"]]=])
  t.equal(json.decode(text), { s })
end)

t.test("wrong options and arguments are refused by name", function()
  t.raises("json%.decode: unknown option 'null', did you mean 'nulls'%?", json.decode, "1", { null = true })
  t.raises("'big' must be \"string\", \"float\" or \"error\"", json.decode, "1", { big = "int" })
  t.raises("json%.encode: unknown option 'prety'", json.encode, 1, { prety = true })
  t.raises("'indent' must consist of spaces and tabs", json.encode, 1, { indent = "--" })
  t.raises("'indent' must be an integer from 0 to 16", json.encode, 1, { indent = 17 })
  t.raises("text must be a string, got nil", json.decode, nil)
  t.raises("text must be a string, got number", json.decode, 12)
end)

t.test("the marks of arrays cannot be changed by a script", function()
  t.equal(getmetatable(json.decode "[]"), false)
end)

t.test("an error in one value leaves the next call alone", function()
  pcall(json.encode, { "kept", print })
  t.equal(json.encode { "next" }, '["next"]')
end)

t.test("a finalizer may encode while another value is being encoded", function()
  local inner = 0
  for i = 1, 50 do
    setmetatable({}, { __gc = function() inner = inner + #json.encode { i } end })
  end
  local list <const> = {}
  for i = 1, 2000 do list[i] = json.object { [i] = "x" } end      -- names of integers allocate while writing
  for _ = 1, 20 do
    t.equal(json.decode(json.encode(list, { sort_keys = true }))[2000]["2000"], "x")
  end
  collectgarbage()
  t.ok(inner > 0)
end)

local function random_value(depth)
  local kind <const> = math.random(depth > 5 and 5 or 7)
  if kind == 1 then return math.random(0) >> math.random(0, 63) end
  if kind == 2 then return (math.random() - 0.5) * 10.0 ^ math.random(-20, 20) end
  if kind == 3 then return math.random(2) == 1 end
  if kind == 4 then return json.null end
  if kind == 5 then
    local chars <const> = {}
    for i = 1, math.random(0, 20) do chars[i] = utf8.char(math.random(0, math.random(2) == 1 and 127 or 0xD7FF)) end
    return table.concat(chars)
  end
  local out <const> = kind == 6 and json.array {} or {}
  for i = 1, math.random(0, 6) do
    out[kind == 6 and i or "k" .. math.random(1000) .. utf8.char(math.random(32, 0x2FFF))] = random_value(depth + 1)
  end
  return out
end

t.test("random values survive encode and decode, plain, pretty and for HTML", function()
  math.randomseed(20240105)
  for _ = 1, 3000 do
    local v <const> = random_value(1)
    t.equal(round(v), v)
    t.equal(round(v, { pretty = true, html = true }), v)
    t.equal(json.encode(round(v), { sort_keys = true }), json.encode(v, { sort_keys = true }))
  end
end)
