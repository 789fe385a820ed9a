-- plan_test.lua - garun.plan: paths, types, and what is refused before a worker is started. What the packed bytes mean
-- is tested where they are read: tests/c/test_encode_plan.c.

local plan <const> = require "garun.plan"
local t <const> = require "garun.test"

local function pack(columns, extra)
  local spec <const> = { tables = { { name = "t", columns = columns } } }
  for k, v in pairs(extra or {}) do spec[k] = v end
  return plan.pack(spec)
end

local one <const> = { { name = "v", type = "text", from = "v" } }

t.test("paths are taken apart", function()
  t.equal(plan.parse_path("."), {})
  t.equal(plan.parse_path("a"), { { name = "a" } })
  t.equal(plan.parse_path("a.b-c.d e"), { { name = "a" }, { name = "b-c" }, { name = "d e" } })
  t.equal(plan.parse_path("items[0].id"), { { name = "items" }, { index = 0 }, { name = "id" } })
  t.equal(plan.parse_path("m[1][2]"), { { name = "m" }, { index = 1 }, { index = 2 } })
  t.equal(plan.parse_path("[3].x"), { { index = 3 }, { name = "x" } })
  t.equal(plan.parse_path("p[key=page_title].value.string_value"), { { name = "p" },
    { name = "key", value = "page_title", fold = false }, { name = "value" }, { name = "string_value" } })
  t.equal(plan.parse_path("p[key~WebUserId]"), { { name = "p" }, { name = "key", value = "WebUserId", fold = true } })
  t.equal(plan.parse_path([[a."x.y"."q\"r"]]), { { name = "a" }, { name = "x.y" }, { name = 'q"r' } })
  t.equal(plan.parse_path('p["a b"="c]d"].v'), { { name = "p" }, { name = "a b", value = "c]d", fold = false },
    { name = "v" } })
  t.equal(plan.parse_path([[""]]), { { name = "" } })
  t.equal(plan.parse_path("p[key=a.b=c]"), { { name = "p" }, { name = "key", value = "a.b=c", fold = false } })
end)

t.test("malformed paths are refused with the place", function()
  for _, path in ipairs { "", "a.", ".a", "a..b", "a[", "a[]", "a[x]", "a[-1]", "a[1", "a[k=]", "a[=v]", "a[k=v", "a]b",
    'a"b"', '"a', 'a."', "a[99999999999]", ("a."):rep(33) .. "a" } do
    local e <const> = t.raises({ kind = "plan", code = "path" }, plan.parse_path, path)
    t.match(e.message, "character %d+")
  end
  t.raises({ kind = "plan", code = "path" }, plan.parse_path, nil)
end)

t.test("types are taken apart as PostgreSQL writes them", function()
  t.equal(plan.parse_type("text"), { name = "text" })
  t.equal(plan.parse_type("character varying(100)"), { name = "varchar", length = 100 })
  t.equal(plan.parse_type("VARCHAR"), { name = "varchar" })
  t.equal(plan.parse_type("character(3)"), { name = "bpchar", length = 3 })
  t.equal(plan.parse_type("character"), { name = "bpchar", length = 1 })
  t.equal(plan.parse_type("bpchar"), { name = "bpchar" })
  t.equal(plan.parse_type("numeric(15,2)"), { name = "numeric", precision = 15, scale = 2 })
  t.equal(plan.parse_type("decimal(4)"), { name = "numeric", precision = 4, scale = 0 })
  t.equal(plan.parse_type("numeric(2,-3)"), { name = "numeric", precision = 2, scale = -3 })
  t.equal(plan.parse_type("numeric"), { name = "numeric" })
  t.equal(plan.parse_type("timestamp(3) without time zone"), { name = "timestamp" })
  t.equal(plan.parse_type("timestamp with time zone"), { name = "timestamptz" })
  t.equal(plan.parse_type("double precision"), { name = "float8" })
  t.equal(plan.parse_type("integer"), { name = "int4" })
  for _, type_ in ipairs { "inet", "integer[]", "text[]", "tsvector", "" } do
    t.raises({ kind = "plan", code = "type" }, plan.parse_type, type_)
  end
end)

t.test("the same plan gives the same bytes, whatever the order of its keys", function()
  local function make(order)
    local values <const> = {}
    for _, name in ipairs(order) do values[name] = "t" end
    return pack(one, { route = { from = "k", values = values } })
  end
  t.equal(make { "a", "b", "c", "d", "e" }, make { "e", "c", "d", "b", "a" })
end)

t.test("mistakes name their place and the nearest right word", function()
  local function refused(pattern, spec)
    local e <const> = t.raises(pattern, plan.pack, spec)
    return e
  end
  refused("tabels.*tables", { tabels = {} })
  refused("no tables", {})
  refused("no columns", { tables = { { columns = {} } } })
  refused("columns%[1%].*has no name", { tables = { { columns = { { type = "text", from = "a" } } } } })
  refused("%(v%) has no source", { tables = { { columns = { { name = "v", type = "text" } } } } })
  refused("one of from, constant and uuid",
    { tables = { { columns = { { name = "v", type = "text", from = "a", constant = 1 } } } } })
  refused("too_long is cutt.*did you mean cut", { tables = { { columns = { { name = "v", type = "text", from = "a",
    too_long = "cutt" } } } } })
  refused("as is nummber.*did you mean number",
    { tables = { { columns = { { name = "v", type = "text", from = { { path = "a", as = "nummber" } } } } } } })
  refused("unit", { tables = { { columns = { { name = "v", type = "date", from = "a", unit = "h" } } } } })
  refused("does not fit", { tables = { { columns = { { name = "v", type = "int4", uuid = true } } } } })
  refused("partition: x is none", { tables = { { partition = "x", columns = one } } })
  refused("leads to no table", { route = { from = "k", values = { a = "u" } }, tables = { { columns = one } } })
  refused("max_line", { max_line = 0, tables = { { columns = one } } })
  refused("range.min must be a string", { range = { min = 5 }, tables = { { columns = one } } })
  refused("seed", { dedup = { key = {}, seed = 1.5 }, tables = { { columns = one } } })
end)

t.test("CSV paths are names of columns, taken as they are", function()
  local csv <const> = { columns = { "Unit.Price [EUR]", "b" } }
  t.ok(pack({ { name = "p", type = "numeric", from = "Unit.Price [EUR]" }, { name = "w", type = "jsonb", from = "." } },
    { csv = csv }))
  t.raises('has no column "c"', pack, { { name = "p", type = "text", from = "c" } }, { csv = csv })
  t.raises("delimiter must be one ASCII character", pack, one, { csv = { columns = { "v" }, delimiter = ",," } })
  t.raises("quote must be one ASCII character", pack, one, { csv = { columns = { "v" }, quote = "," } })
  t.raises("columns is empty", pack, one, { format = "csv" })
end)
