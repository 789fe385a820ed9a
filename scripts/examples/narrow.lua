-- narrow.lua: appends narrow rows from NDJSON or CSV files to the table `narrow`; `make bench` measures it.
--
--   garun examples/narrow.lua FILE ...

local pipeline <const> = require "garun.pipeline"

local result <const> = pipeline.load {
  from = { ... },
  mapping = pipeline.mapping {
    format = (...):match("%.csv") and "csv" or "ndjson",
    table = "narrow",
    columns = { id = "id", day = "day", kind = "kind", amount = "amount", ok = "ok" },
  },
}
print(result.loaded .. " rows")
