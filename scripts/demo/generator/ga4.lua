-- ga4: writes an event as one line of JSON in the form of Google's BigQuery export, all 30 top-level columns in the
-- table's order. It knows columns and encodings; what happens in the shop it does not know.
--
-- A form is one of the encodings in which such lines reach people:
--   json     BigQuery's TO_JSON_STRING(t): nulls written out, INT64 a number (a string beyond 2^53), 12.0 printed as 12
--   extract  an extract job's NDJSON: null members left out, INT64 always a string, < > & escaped
--   console  copied from BigQuery's console: every scalar a string, "12.0" and "true" too

local ga4 <const> = {}

local Form <const> = {}
Form.__index = Form

local ESCAPES <const> = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n",
  ["\r"] = "\\r", ["\t"] = "\\t" }

local function escape(c)
  return ESCAPES[c] or ("\\u%04x"):format(c:byte())
end

--- A value that is written as it stands: {raw = '"\\u0000"'}. For what no proper encoder would produce.
---@param text string  a piece of JSON
function ga4.raw(text)
  return { raw = text }
end

function Form:string(v)
  if v == nil then
    return "null"
  elseif type(v) == "table" then
    return v.raw
  elseif v:find('[%c"\\]') then
    v = v:gsub('[%c"\\]', escape)
  end
  if self.html and v:find("[<>&]") then
    v = v:gsub("[<>&]", escape)
  end
  return '"' .. v .. '"'
end

function Form:integer(v)
  if v == nil then
    return "null"
  elseif type(v) == "table" then
    return v.raw
  elseif self.quoted_integers or v > 0x20000000000000 or v < -0x20000000000000 then
    return '"' .. v .. '"'
  end
  return tostring(v)
end

--- Money: whole cents, so that the sums of the manifest are exact.
function Form:cents(v)
  if v == nil then
    return "null"
  elseif type(v) == "table" then
    return v.raw
  end
  local text
  if v % 100 == 0 then
    text = self.quoted and ("%d.0"):format(v // 100) or ("%d"):format(v // 100)
  else
    text = ("%d.%02d"):format(v // 100, v % 100):gsub("0$", "")
  end
  return self.quoted and '"' .. text .. '"' or text
end

function Form:boolean(v)
  if v == nil then
    return "null"
  end
  return self.quoted and '"' .. tostring(v) .. '"' or tostring(v)
end

--- An object from name, rendered value, name, rendered value ...; "null" members go where the form says.
function Form:object(...)
  local out <const>, n = {}, 0
  for i = 1, select("#", ...), 2 do
    local name <const>, value <const> = select(i, ...)
    if value ~= "null" or self.nulls then
      n = n + 1
      out[n] = '"' .. name .. '":' .. value
    end
  end
  return "{" .. table.concat(out, ",", 1, n) .. "}"
end

-- Members behind others: ',"name":value', or nothing for a null that the form leaves out.
function Form:member(name, value)
  if value == "null" and not self.nulls then
    return ""
  end
  return ',"' .. name .. '":' .. value
end

-- event_params and user_properties: key plus a value record of which one member is set. The templates are made once.
local function templates(form, stamp)
  local function template(kind)
    return '{"key":"%s","value":' .. form:object(
      "string_value", kind == "string" and "%s" or "null", "int_value", kind == "int" and "%s" or "null",
      "float_value", kind == "float" and "%s" or "null", "double_value", kind == "double" and "%s" or "null",
      table.unpack(stamp and { "set_timestamp_micros", "%s" } or {})) .. "}"
  end
  return { string = template "string", int = template "int", float = template "float", double = template "double",
        null = template "null" }
end

--- One element of event_params. kind: string, int, float, double (in cents) or null (GA4 does write keys without any
--- value).
function Form:param(key, kind, value)
  local template <const> = self.params[kind]
  if kind == "string" then
    return template:format(key, self:string(value))
  elseif kind == "int" then
    return template:format(key, self:integer(value))
  elseif kind == "null" then
    return (template:format(key))
  end
  return template:format(key, self:cents(value))
end

--- One element of user_properties. kind: string or int.
function Form:property(key, kind, value, set_micros)
  return self.properties[kind]:format(key, kind == "int" and self:integer(value) or self:string(value),
    self:integer(set_micros))
end

--- The items array. An item: id, name, brand, variant, category, category2, cents, quantity, revenue (cents), coupon,
--- branch, list, index. Each of them may be nil or raw.
function Form:items(items)
  local out <const> = {}
  for i, it in ipairs(items or {}) do
    out[i] = self:object(
      "item_id", self:string(it.id), "item_name", self:string(it.name), "item_brand", self:string(it.brand),
      "item_variant", self:string(it.variant), "item_category", self:string(it.category),
      "item_category2", self:string(it.category2), "item_category3", "null", "item_category4", "null",
      "item_category5", "null", "price_in_usd", self:cents(it.cents), "price", self:cents(it.cents),
      "quantity", self:integer(it.quantity), "item_revenue_in_usd", self:cents(it.revenue),
      "item_revenue", self:cents(it.revenue), "item_refund_in_usd", "null", "item_refund", "null",
      "coupon", self:string(it.coupon), "affiliation", "null", "location_id", self:string(it.branch),
      "item_list_id", self:string(it.list), "item_list_name", self:string(it.list),
      "item_list_index", self:string(it.index), "promotion_id", "null", "promotion_name", "null",
      "creative_name", "null", "creative_slot", "null", "item_params", "[]")
  end
  return "[" .. table.concat(out, ",") .. "]"
end

--- The ecommerce record; e may be nil (then all members are null, as on pages that sell nothing).
--- e: quantity, revenue, shipping, tax (cents), unique, transaction_id.
function Form:ecommerce(e)
  e = e or {}
  return self:object(
    "total_item_quantity", self:integer(e.quantity), "purchase_revenue_in_usd", self:cents(e.revenue),
    "purchase_revenue", self:cents(e.revenue), "refund_value_in_usd", "null", "refund_value", "null",
    "shipping_value_in_usd", self:cents(e.shipping), "shipping_value", self:cents(e.shipping),
    "tax_value_in_usd", self:cents(e.tax), "tax_value", self:cents(e.tax),
    "unique_items", self:integer(e.unique), "transaction_id", self:string(e.transaction_id))
end

--- Columns 9 to 21, which are the same in all events of a visitor. v: user_id, pseudo, consent, properties (list of
--- rendered elements), first_touch, ltv (cents), device, geo, source, stream.
function Form:visitor(v)
  local s <const>, d <const>, g <const>, t <const> = self.string, v.device, v.geo, v.source
  return table.concat {
    self:member("user_id", s(self, v.user_id)),
    self:member("user_pseudo_id", s(self, v.pseudo)),
    self:member("privacy_info", self:object("analytics_storage", s(self, v.consent),
      "ads_storage", s(self, v.consent), "uses_transient_token", s(self, v.consent == "No" and "Yes" or "No"))),
    ',"user_properties":[', table.concat(v.properties, ","), "]",
    self:member("user_first_touch_timestamp", self:integer(v.first_touch)),
    self:member("user_ltv", v.ltv and self:object("revenue", self:cents(v.ltv), "currency", '"USD"') or "null"),
    self:member("device", self:object(
      "category", s(self, d.category), "mobile_brand_name", s(self, d.brand),
      "mobile_model_name", s(self, d.model), "mobile_marketing_name", s(self, d.marketing),
      "mobile_os_hardware_model", "null", "operating_system", s(self, d.os),
      "operating_system_version", s(self, d.os_version), "vendor_id", "null", "advertising_id", "null",
      "language", s(self, d.language), "is_limited_ad_tracking", '"No"', "time_zone_offset_seconds", "null",
      "browser", "null", "browser_version", "null",
      "web_info", self:object("browser", s(self, d.browser), "browser_version", s(self, d.version),
        "hostname", s(self, v.host)))),
    self:member("geo", self:object("city", s(self, g.city), "country", s(self, g.country),
      "continent", s(self, g.continent), "region", s(self, g.region), "sub_continent", s(self, g.sub),
      "metro", s(self, g.metro))),
    self:member("app_info", "null"),
    self:member("traffic_source", self:object("name", s(self, t.campaign), "medium", s(self, t.medium),
      "source", s(self, t.source))),
    self:member("stream_id", s(self, v.stream)),
    self:member("platform", '"WEB"'),
    self:member("event_dimensions", "null"),
  }
end

--- Column 24. t: source, medium, campaign, campaign_id, term, gclid; nil where the hit brought no such data.
function Form:collected(t)
  if not t then
    return self:member("collected_traffic_source", "null")
  end
  return self:member("collected_traffic_source", self:object(
    "manual_campaign_id", self:string(t.campaign_id), "manual_campaign_name", self:string(t.campaign),
    "manual_source", self:string(t.source), "manual_medium", self:string(t.medium),
    "manual_term", self:string(t.term), "manual_content", "null", "manual_source_platform", "null",
    "manual_creative_format", "null", "manual_marketing_tactic", "null", "gclid", self:string(t.gclid),
    "dclid", "null", "srsltid", "null"))
end

--- Column 29 for a session that came by t.
function Form:last_click(t)
  local ads <const> = t.gclid and self:object("customer_id", '"4183920571"', "account_name", '"Web shop"',
    "campaign_id", self:string(t.campaign_id), "campaign_name", self:string(t.campaign),
    "ad_group_id", '"157640218"', "ad_group_name", '"All products"') or "null"
  return self:member("session_traffic_source_last_click", self:object(
    "manual_campaign", self:object("campaign_id", self:string(t.campaign_id),
      "campaign_name", self:string(t.campaign), "source", self:string(t.source),
      "medium", self:string(t.medium), "term", self:string(t.term), "content", "null",
      "source_platform", "null", "creative_format", "null", "marketing_tactic", "null"),
    "google_ads_campaign", ads,
    "cross_channel_campaign", self:object("campaign_id", self:string(t.campaign_id),
      "campaign_name", self:string(t.campaign), "source", self:string(t.source),
      "medium", self:string(t.medium), "source_platform", self:string(t.gclid and "Google Ads"),
      "default_channel_group", self:string(t.channel), "primary_channel_group", self:string(t.channel)),
    "sa360_campaign", "null", "cm360_campaign", "null", "dv360_campaign", "null"))
end

--- The line. e: date ('YYYYMMDD'), micros, name, params (rendered elements joined by commas), value (cents, in USD),
--- bundle, offset, visitor (rendered), ecommerce, items, collected, last_click (rendered), batch {page, ordering,
--- index} or nil, active. e.date or e.name false leaves the member out.
function Form:event(e)
  local batch <const> = e.batch or {}
  local head <const> = (e.date and '"event_date":' .. self:string(e.date) .. "," or "")
    .. '"event_timestamp":' .. self:integer(e.micros)
    .. (e.name and ',"event_name":' .. self:string(e.name) or "")
  return table.concat {
    "{", head, ',"event_params":[', e.params, "]",
    self:member("event_previous_timestamp", "null"),
    self:member("event_value_in_usd", self:cents(e.value)),
    self:member("event_bundle_sequence_id", self:integer(e.bundle)),
    self:member("event_server_timestamp_offset", self:integer(e.offset)),
    e.visitor,
    e.ecommerce and self:member("ecommerce", self:ecommerce(e.ecommerce)) or self.no_ecommerce,
    e.items and ',"items":' .. self:items(e.items) or ',"items":[]',
    e.collected or self.no_collected,
    self:member("is_active_user", self:boolean(e.active)),
    self:member("batch_event_index", self:integer(batch[3])),
    self:member("batch_page_id", self:integer(batch[1])),
    self:member("batch_ordering_id", self:integer(batch[2])),
    e.last_click,
    self.no_publisher,
    "}",
  }
end

local function form(spec)
  setmetatable(spec, Form)
  spec.params, spec.properties = templates(spec, false), templates(spec, true)
  spec.no_ecommerce = spec:member("ecommerce", spec:ecommerce(nil))
  spec.no_collected = spec:collected(nil)
  spec.no_publisher = spec:member("publisher", "null")
  return spec
end

---@type table<string, table>
ga4.forms = {
  json = form { nulls = true },
  extract = form { quoted_integers = true, html = true },
  console = form { nulls = true, quoted_integers = true, quoted = true },
}

return ga4
