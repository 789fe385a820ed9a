-- orders.lua: orders from CSV or NDJSON files into a table of one's own.
--
--   garun examples/orders.lua append|replace|merge FILE ...
--
-- The table: create table orders (order_id varchar(20) primary key, ordered_on date not null, amount numeric(9,2),
--                                 customer text, source text)
-- append adds; replace takes whole days (ordered_on) that occur in the files; merge inserts and updates by order_id.

local pipeline <const> = require "garun.pipeline"

local mode <const>, first <const> = ...
local csv <const> = first ~= nil and first:match("%.csv") ~= nil

local result <const> = pipeline.load {
  from = { select(2, ...) },
  mode = mode,
  key = mode == "merge" and { "order_id" } or nil,
  mapping = pipeline.mapping {
    format = csv and "csv" or "ndjson",
    table = "orders",
    partition = "ordered_on",
    columns = {
      order_id = { csv and "Order No" or "order.number", id = true },
      ordered_on = csv and "Date" or "order.placed",
      amount = csv and { "Total", "Sum" } or { "totals[kind=gross].amount:number" },
      customer = { csv and "Customer" or "customer.name", trim = true, empty = "null" },
      source = pipeline.const "shop",
    },
  },
}
print(string.format("%d lines: %d loaded, %d rejected", result.lines, result.loaded, result.rejected))
