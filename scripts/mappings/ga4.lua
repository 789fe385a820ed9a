-- GA4 events of the BigQuery export -> the six event tables.
--
-- One event is one JSON object, as TO_JSON_STRING, an extract job or the console give it. A column names the path its
-- value comes from; the first of several paths that is not null counts. `:number` after a path takes a number or a
-- string that holds one and prints a whole one as 123, never 123.0; `:json` takes a whole sub-tree. The column's type
-- and length come from the table itself.
--
--   id = true        too long a value rejects the row (else text is cut at the column's length, and counted)
--   default          what stands where every path is null
--
-- Source of the rules: GA4 BigQuery export schema, https://support.google.com/analytics/answer/7029846

local pipeline <const> = require "garun.pipeline"

-- A parameter's value is in one of four fields. The order says which one is asked first; the floating point ones last.
local function values(at, first, second)
  return { at .. first, at .. second, at .. ".double_value:number", at .. ".float_value:number" }
end

local function int_first(at) return values(at, ".int_value:number", ".string_value") end
local function string_first(at) return values(at, ".string_value", ".int_value:number") end

local function param(name) return "event_params[key=" .. name .. "].value" end
local function user_property(name) return "user_properties[key~" .. name .. "].value" end   -- ~: case does not matter

local function with(list, options)
  for k, v in pairs(options) do list[k] = v end
  return list
end

local function join(...)
  local all <const> = {}
  for _, list in ipairs { ... } do
    for _, v in ipairs(list) do all[#all + 1] = v end
  end
  return all
end

local transaction_id <const> = with(join(string_first(param "transaction_id"), { "ecommerce.transaction_id" }), { id = true })
local revenue <const> = {
  "ecommerce.purchase_revenue:number", param "value" .. ".double_value:number", param "value" .. ".float_value:number",
  param "value" .. ".int_value:number",
}
local items <const> = { "items:json", default = "[]" }

return pipeline.mapping {
  name = "ga4",
  format = "ndjson",

  -- event_name decides the table; other names are counted and left out.
  route = {
    from = "event_name",
    purchase = "purchase",
    add_to_cart = "add_to_cart",
    page_view = "page_view",
    view_item = "view_item",
    view_search_results = "view_search_results",
    no_search_results = "no_search_results",
    view_search_results_no_results = "no_search_results",
  },

  partition = "event_date",     -- a load replaces whole days

  -- The export may repeat an event. Events of before July 2024 have no batch ids: then only an identical one is the same.
  duplicates = {
    key = { "user_pseudo_id", "event_timestamp", "event_name", "batch_page_id", "batch_ordering_id", "batch_event_index" },
    whole_without = { "batch_page_id", "batch_ordering_id", "batch_event_index" },
  },

  -- Columns that every table has, then what each table adds.
  columns = {
    id = pipeline.uuid,
    tenant_id = pipeline.param "tenant_id",
    event_date = "event_date",
    event_timestamp = { "event_timestamp:number", id = true },
    user_pseudo_id = { "user_pseudo_id", id = true },
    user_prop_webuserid = with(int_first(user_property "webuserid"), { id = true }),
    user_prop_default_branch_id = with(string_first(user_property "default_branch_id"), { id = true }),
    param_ga_session_id = with(int_first(param "ga_session_id"), { id = true }),
    param_page_title = string_first(param "page_title"),
    param_page_location = string_first(param "page_location"),
    device_category = "device.category",
    device_operating_system = "device.operating_system",
    geo_country = "geo.country",
    geo_city = "geo.city",
    raw_data = pipeline.record,
  },

  tables = {
    purchase = {
      param_transaction_id = transaction_id,
      ecommerce_purchase_revenue = revenue,
      items_json = items,
    },
    add_to_cart = {
      first_item_item_id = { "items[0].item_id", id = true },
      first_item_item_name = "items[0].item_name",
      first_item_item_category = "items[0].item_category",
      first_item_price = "items[0].price:number",
      first_item_quantity = "items[0].quantity:number",
      items_json = items,
    },
    page_view = {
      param_page_referrer = string_first(param "page_referrer"),
    },
    view_item = {
      first_item_item_id = { "items[0].item_id", id = true },
      first_item_item_name = "items[0].item_name",
      first_item_item_category = "items[0].item_category",
      first_item_price = "items[0].price:number",
      items_json = items,
    },
    view_search_results = {
      param_search_term = string_first(param "search_term"),
    },
    no_search_results = {
      param_no_search_results_term = join(string_first(param "no_search_results_term"), string_first(param "search_term")),
    },
  },
}
