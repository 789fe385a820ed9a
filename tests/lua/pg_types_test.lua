-- Every type: what Lua gets, compared with the server's own text, and back again as a parameter.
local t <const> = require "garun.test"
local pg <const> = require "garun.pg"
local json <const> = require "garun.json"

-- type, literal, what Lua gets (nil: exactly the server's text)
local cases <const> = {
  { "bool", "true", true }, { "bool", "f", false },
  { "int2", "-32768", -32768 }, { "int4", "2147483647", 2147483647 },
  { "int8", "9223372036854775807", math.maxinteger }, { "int8", "-9223372036854775808", math.mininteger },
  { "oid", "4294967295", 4294967295 },
  { "float4", "1.5", 1.5 }, { "float4", "0.1", 0.1 },
  { "float8", "0.1", 0.1 }, { "float8", "1e300", 1e300 }, { "float8", "-0", -0.0 }, { "float8", "5e-324", 5e-324 },
  { "float8", "Infinity", math.huge }, { "float8", "-Infinity", -math.huge }, { "float8", "NaN", 0 / 0 },
  { "numeric", "123456789012345678901234567890.123456789" }, { "numeric(15,2)", "1.10" }, { "numeric", "NaN" },
  { "text", "" }, { "text", "ä€𝄞\t\n\\x" }, { "varchar(5)", "abcde" }, { "char(4)", "ab", "ab  " },
  { "name", "n" }, { "\"char\"", "c" },
  { "date", "2024-02-29" }, { "date", "infinity" }, { "date", "0044-03-15 BC" },
  { "time", "23:59:59.999999" }, { "timetz", "12:00:00+02" },
  { "timestamp", "2024-01-05 06:07:08.123456" }, { "timestamptz", "2024-01-05 06:07:08.5+03" },
  { "interval", "1 year 2 mons -3 days 04:05:06.7" },
  { "uuid", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b" },
  { "bytea", "\\x00ff10", "\0\255\16" }, { "bytea", "", "" },
  { "inet", "192.168.0.1/24" }, { "cidr", "10.0.0.0/8" }, { "macaddr", "08:00:2b:01:02:03" },
  { "bit(4)", "1010" }, { "varbit", "101" }, { "money", "$1,234.50" }, { "xml", "<a>b</a>" },
  { "point", "(1,2)" }, { "box", "(3,4),(1,2)" }, { "box[]", "{(3,4),(1,2);(5,6),(3,4)}" }, { "int4range", "[1,5)" },
  { "tsvector", "'a' 'b':2" }, { "pg_lsn", "16/B374D848" }, { "regclass", "pg_class" }, { "int2vector", "1 2" },
  { "json", '{"b": [1, 2.5, null, "x"], "a": {}}', { b = { 1, 2.5, json.null, "x" }, a = {} } },
  { "jsonb", "9007199254740993", 9007199254740993 }, { "jsonb", '"text"', "text" }, { "jsonb", "null", json.null },
  { "int4[]", "{1,2,3}", { 1, 2, 3 } }, { "int8[]", "{}", {} }, { "int4[]", "{{1,2},{3,4}}", { { 1, 2 }, { 3, 4 } } },
  { "int4[]", "[0:1]={7,8}", { 7, 8 } }, { "text[]", '{a,NULL,"NULL","a,b","q\\"\\\\","",ä}',
    { "a", json.null, "NULL", "a,b", 'q"\\', "", "ä" } },
  { "bool[]", "{t,f,NULL}", { true, false, json.null } }, { "float8[]", "{1.5,NaN}", { 1.5, 0 / 0 } },
  { "numeric[]", "{1.10,2}", { "1.10", "2" } }, { "jsonb[]", '{"{\\"a\\": 1}",NULL}', { { a = 1 }, json.null } },
  { "date[]", "{2024-01-05,NULL}", { "2024-01-05", json.null } }, { "bytea[]", '{"\\\\x00ff"}', { "\0\255" } },
  { "uuid[]", "{0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b}", { "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b" } },
  { "timestamptz[]", '{"2024-01-05 06:07:08+00"}', { "2024-01-05 06:07:08+00" } },
  { "mood", "it's" }, { "mood[]", "{sad,NULL,it's}", { "sad", json.null, "it's" } },
  { "positive", "5", 5 }, { "positive[]", "{5,6}", { 5, 6 } }, { "label", "x" },
  { "pair", '(1,"a b")' }, { "pair[]", '{"(1,\\"a b\\")"}', { '(1,"a b")' } },
}

local function database()
  local db <const> = pg.connect(t.postgres())
  db:script [[
    create type mood as enum ('sad', 'it''s');
    create domain positive as int check (value > 0);
    create domain label as text;
    create type pair as (a int, b text);
  ]]
  return db
end

t.test("every type arrives as documented and equals the server's text", function()
  local db <close> = database()
  for _, case in ipairs(cases) do
    local type_name <const>, literal <const>, want = table.unpack(case, 1, 3)
    local expr <const> = string.format("%s::%s", pg.literal(literal), type_name)
    local label <const> = type_name .. " " .. literal
    if case[3] == nil then want = db:value("select (" .. expr .. ")::text") end
    for _ = 1, 3 do     -- first as it is, then prepared
      t.equal(db:value("select " .. expr), want, label)
    end
    local n = 0
    for row in db:rows("select " .. expr .. " as v") do
      t.equal(row.v, want, label .. " streamed")
      n = n + 1
    end
    t.equal(n, 1)
  end
end)

t.test("every value that was read can be written again and is the same to the server", function()
  local db <close> = database()
  local function back(v, type_name)
    if type_name:find("json", 1, true) and not type_name:find("[]", 1, true) then return pg.json(v) end
    if type_name == "jsonb[]" then
      local list <const> = {}
      for i, x in ipairs(v) do list[i] = x == json.null and x or pg.json(x) end
      return pg.array(list)
    end
    if type_name == "bytea[]" then return pg.array { pg.bytea(v[1]) } end
    if type_name == "bytea" then return pg.bytea(v) end
    if type(v) == "table" then return pg.array(v) end
    return v
  end
  for _, case in ipairs(cases) do
    local type_name <const>, literal <const> = case[1], case[2]
    local expr <const> = string.format("%s::%s", pg.literal(literal), type_name)
    if literal ~= "[0:1]={7,8}" then       -- bounds are lost, as documented
      local v <const> = back(db:value("select " .. expr), type_name)
      local form <const> = type_name == "json" and "jsonb" or "text"      -- json keeps its white space
      local sql <const> = string.format("select ($1::%s)::%s = (%s)::%s", type_name, form, expr, form)
      t.equal(db:value(sql, v), true, type_name .. " " .. literal)
    end
  end
end)

t.test("what psql shows is what a row has", function()
  local at <const> = t.postgres()
  local db <close> = pg.connect(at)
  local sql <const> = [[select 1 as i, 2.50::numeric as n, 'x' || E'\t' as s, date '2024-01-05' as d,
    timestamp '2024-01-05 01:02:03' as ts, '\x01'::bytea::text as b, interval '1 day 02:03:04' as iv]]
  local out <const> = t.run { "psql", "-X", "-At", "-F", "|", "-h", at.host, "-p", tostring(at.port or 5432), "-U",
    at.user, "-d", at.database, "-c", sql, stdin = "" }
  if out.status ~= 0 then t.skip("psql cannot connect: " .. out.stderr) end
  local row <const> = db:query({ sql, arrays = true })[1]
  for i = 1, row.n do row[i] = tostring(row[i]) end
  t.equal(table.concat(row, "|") .. "\n", out.stdout)
end)

t.test("numeric becomes a number on request", function()
  local db <close> = database()
  t.equal(db:value { "select 1.10::numeric", numbers = true }, 1.1)
  t.equal(db:value { "select 5::numeric", numbers = true }, 5)
  t.equal(db:value { "select array[1.5, 2]::numeric[]", numbers = true }, json.array { 1.5, 2 })
  t.equal(db:value "select 1.10::numeric", "1.10")
end)

t.test("null members of JSON are absent, or json.null with nulls = true", function()
  local db <close> = database()
  t.equal(db:value [[select '{"a":null,"b":1}'::jsonb]], { b = 1 })
  t.equal(db:value { [[select '{"a":null,"b":1}'::jsonb]], nulls = true }, { a = json.null, b = 1 })
end)

t.test("an empty array column is [] in JSON", function()
  local db <close> = database()
  t.equal(json.encode(db:value "select '{}'::int[]"), "[]")
end)
