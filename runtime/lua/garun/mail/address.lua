-- garun.mail.address: addresses, checked before a relay sees them (RFC 5321, RFC 5322, RFC 6531).
--
-- An address ends up in commands to the relay, so whatever is not one is refused, with the reason. Domains come out in
-- ASCII (IDNA); a local part that is not ASCII stays, and only relays with SMTPUTF8 take such a mail.

local core <const> = require "garun.core.mime"
local header <const> = require "garun.mail.header"

local M <const> = {}

local ATEXT <const> = "%w!#$%%&'*+/=?^_`{|}~\x80-\xFF-"

local function refuse(field, text, why, ...)
  header.fail("address", field, "'%s' is no mail address: " .. why, header.shown(text), ...)
end

local function check_local(field, text, part)
  if part == "" then refuse(field, text, "nothing is before the @") end
  if #part > 64 then refuse(field, text, "%d bytes before the @, 64 are allowed", #part) end
  if part:find('^"') then
    if not part:find('^"[^"\\]*"$') and not part:gsub("\\[ -~]", ""):find('^"[^"\\]*"$') then
      refuse(field, text, "its quotes do not match")
    end
    return
  end
  local odd <const> = part:match("[^." .. ATEXT .. "]")
  if odd then refuse(field, text, "%s is not allowed before the @", odd == " " and "a blank" or "'" .. odd .. "'") end
  if part:find("^%.") or part:find("%.$") or part:find("..", 1, true) then
    refuse(field, text, "a dot at an end or two in a row before the @")
  end
end

local function check_domain(field, text, domain)
  if domain == "" then refuse(field, text, "nothing is behind the @") end
  if domain:find("^%[[%x:.]+%]$") or domain:find("^%[IPv6:[%x:.]+%]$") then return domain end
  if domain:find("[\x80-\xFF]") then
    local ascii <const>, why <const> = core.domain(domain)
    if not ascii then refuse(field, text, "its domain: %s", why) end
    domain = ascii
  end
  if #domain > 253 then refuse(field, text, "its domain has %d bytes, 253 are allowed", #domain) end
  for label in (domain .. "."):gmatch("([^.]*)%.") do
    if label == "" then refuse(field, text, "an empty part in its domain") end
    if #label > 63 then refuse(field, text, "a part of its domain has %d bytes, 63 are allowed", #label) end
    if not label:find("^[%w_-]+$") or label:find("^%-") or label:find("%-$") then
      refuse(field, text, "'%s' is no part of a domain", label)
    end
  end
  return domain
end

-- The bare address, its domain in ASCII; raises kind "mail", code "address", naming the field.
function M.bare(field, text)
  header.check(field, text)
  local part <const>, domain <const> = text:match("^(.*)@([^@]*)$")
  if not part then refuse(field, text, "it has no @") end
  check_local(field, text, part)
  local address <const> = part .. "@" .. check_domain(field, text, domain)
  if #address > 254 then refuse(field, text, "it has %d bytes, 254 are allowed", #address) end
  return address
end

-- "a@b", "Name <a@b>", { name, address } or { name =, address = } -> { name or nil, address }
function M.one(field, value)
  local name, address
  if type(value) == "string" then
    header.check(field, value)
    name, address = value:match("^%s*(.-)%s*<([^<>]*)>%s*$")
    if name then
      local inner <const> = name:match('^"(.*)"$')
      if inner then name = inner:gsub("\\(.)", "%1") end
    else
      address = value
    end
  elseif type(value) == "table" then
    for k in pairs(value) do
      if k ~= "name" and k ~= "address" and k ~= 1 and k ~= 2 then
        header.fail("type", field, "an address is { name =, address = }; it has no field '%s'", header.shown(tostring(k)))
      end
    end
    address = value.address or value[2] or value[1]
    name = value.name or value[2] and value[1] or nil
  end
  if type(address) ~= "string" then
    header.fail("type", field, "an address is \"a@b.example\" or { name =, address = }, got %s", type(value))
  end
  if name ~= nil then header.check(field .. ".name", name) end
  return { name = name ~= "" and name or nil, address = M.bare(field, address) }
end

-- One address or a list of them.
function M.list(field, value)
  if type(value) == "table" and value.address == nil
    and (type(value[1]) == "table" or type(value[1]) == "string" and value[1]:find("@", 1, true)) then
    local list <const> = {}
    for i, v in ipairs(value) do list[i] = M.one(string.format("%s[%d]", field, i), v) end
    return list
  end
  if type(value) == "table" and next(value) == nil then header.fail("address", field, "the list is empty") end
  return { M.one(field, value) }
end

return M
