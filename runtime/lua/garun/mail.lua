-- garun.mail: a message as the bytes that go to a relay, made from a table.
--
-- All text leaves as quoted-printable or base64, so that lines are short, line ends are CRLF and nothing on the way has
-- a reason to change a byte. The same table with the same date and message_id gives the same bytes: a stored mail can
-- be compared, and sent again as the mail it was. Sending is garun.smtp.

local address <const> = require "garun.mail.address"
local core <const> = require "garun.core.mime"
local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local header <const> = require "garun.mail.header"
local uuid <const> = require "garun.uuid"

local mail <const> = {}

local OPTIONS <const> = { "from", "sender", "to", "cc", "reply_to", "subject", "text", "html", "inline", "attachments", "date",
  "message_id", "domain", "boundary", "list_id", "list_unsubscribe", "list_unsubscribe_post", "auto_submitted", "headers" }

local INLINE <const> = { "cid", "type", "name", "data" }
local ATTACHMENT <const> = { "name", "type", "data" }

-- Headers that compose makes itself, that relays make, or whose forgery or doubling changes what a mail is.
local OURS <const> = {}
for name in ([[from sender to cc bcc reply-to subject date message-id mime-version list-id list-unsubscribe
  list-unsubscribe-post auto-submitted received return-path delivered-to dkim-signature authentication-results
  arc-seal arc-message-signature arc-authentication-results]]):gmatch("%S+") do
  OURS[name] = true
end

local fail <const> = header.fail

---- small fields ----

local DAYS <const> = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local MONTHS <const> = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }

local function date_of(value)
  if value == nil then value = os.time() end
  local whole <const> = type(value) == "number" and value == value and math.abs(value) < 1e12
    and math.tointeger(math.floor(value))
  local d <const> = whole and os.date("!*t", whole)
  if not d or d.year < 1900 or d.year > 9999 then
    fail("date", "date", "must be seconds since 1970, got %s", header.shown(tostring(value)))
  end
  return string.format("%s, %02d %s %04d %02d:%02d:%02d +0000", DAYS[d.wday], d.day, MONTHS[d.month], d.year, d.hour,
    d.min, d.sec)
end

local function message_id_of(spec, from)
  local id <const> = spec.message_id
  if id == nil then
    local domain <const> = spec.domain or from.address:match("@([^@]*)$")
    header.check("domain", domain)
    address.bare("domain", "x@" .. domain)
    return "<" .. uuid.v7() .. "@" .. (core.domain(domain) or domain) .. ">"
  end
  header.check("message_id", id)
  if not id:find("^<[^<>@%s\x80-\xFF]+@[^<>@%s\x80-\xFF]+>$") or #id > 250 then
    fail("message_id", "message_id", "must be <something@domain> of ASCII, at most 250 bytes, got '%s'", header.shown(id))
  end
  return id
end

local function unsubscribe_of(spec, add)
  local value <const> = spec.list_unsubscribe
  local list <const> = type(value) == "string" and { value } or value
  if spec.list_unsubscribe_post ~= nil and type(spec.list_unsubscribe_post) ~= "boolean" then
    fail("type", "list_unsubscribe_post", "must be true or false, got %s", type(spec.list_unsubscribe_post))
  end
  if list == nil then
    if spec.list_unsubscribe_post then
      fail("unsubscribe", "list_unsubscribe_post", "needs list_unsubscribe with an https URL (RFC 8058)")
    end
    return
  end
  if type(list) ~= "table" or #list == 0 then
    fail("type", "list_unsubscribe", "must be a URL or a list of URLs, got %s", type(list))
  end
  local parts <const>, https = {}, false
  for i, url in ipairs(list) do
    header.check("list_unsubscribe", url)
    if not url:find("^https://[^%s<>,\x80-\xFF]+$") and not url:find("^mailto:[^%s<>,\x80-\xFF]+$") then
      fail("unsubscribe", "list_unsubscribe", "'%s' is no https: or mailto: URL in ASCII without blanks, commas, < and >",
        header.shown(url))
    end
    https = https or url:find("^https:") ~= nil
    parts[i] = "<" .. url .. ">"
  end
  -- On one line: a relay's signature over a folded one was found broken by another.
  add(header.line("List-Unsubscribe", table.concat(parts, ", "), "list_unsubscribe"))
  if spec.list_unsubscribe_post then
    if not https then fail("unsubscribe", "list_unsubscribe_post", "needs an https URL in list_unsubscribe (RFC 8058)") end
    add "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
  end
end

local function extra_headers(headers, add)
  if headers == nil then return end
  if type(headers) ~= "table" then fail("type", "headers", "must be a table of names and values, got %s", type(headers)) end
  local names <const>, seen <const> = {}, {}
  for name in pairs(headers) do
    if type(name) ~= "string" or not name:find("^%a[%w-]*$") or #name > 64 then
      fail("header", "headers", "'%s' is no header name", header.shown(tostring(name)))
    end
    local low <const> = name:lower()
    if OURS[low] or low:find("^content%-") or low:find("^resent%-") then
      fail("header", "headers." .. name, "is not set here; compose makes it from its own option, or the relay does")
    end
    if seen[low] then fail("header", "headers." .. name, "is given twice, in different cases") end
    seen[low] = true
    names[#names + 1] = name
  end
  table.sort(names)
  for _, name in ipairs(names) do add(header.text(name, header.check("headers." .. name, headers[name]))) end
end

---- parts ----

local function body_text(field, value)
  if type(value) ~= "string" then fail("type", field, "must be a string, got %s", type(value)) end
  local len <const>, bad <const> = utf8.len(value)
  if not len then fail("utf8", field, "is not valid UTF-8, at byte %d: %s", bad, header.shown(value:sub(bad, bad + 20))) end
  local nul <const> = value:find("\0", 1, true)
  if nul then fail("control", field, "has a NUL at byte %d", nul) end
  if value ~= "" and not value:find("[\r\n]$") then value = value .. "\n" end
  return value
end

local function text_part(kind, value)
  local encoding <const>, bytes <const> = core.text(value)
  return header.parameters("Content-Type", "text/" .. kind, { 'charset="utf-8"' })
    .. "Content-Transfer-Encoding: " .. encoding .. "\r\n\r\n" .. bytes
end

local TOKEN <const> = "[%w!#$&^_.+-]+"

local function type_of(field, value)
  value = header.check(field .. ".type", value == nil and "application/octet-stream" or value)
  local kind <const>, rest <const> = value:match("^(" .. TOKEN .. "/" .. TOKEN .. ")(.*)$")
  local parameters <const>, at = {}, 1
  while kind and at <= #rest do
    local from <const>, to <const>, name <const>, v <const> = rest:find("^; *(" .. TOKEN .. ")=(" .. TOKEN .. ")", at)
    if not from then break end
    parameters[#parameters + 1] = name .. '="' .. v .. '"'
    at = to + 1
  end
  if not kind or at <= #rest or kind:find("^[Mm][Uu][Ll][Tt][Ii][Pp][Aa][Rr][Tt]/") or #value > 127 then
    fail("type", field .. ".type", "'%s' is no media type like text/csv; charset=utf-8", header.shown(value))
  end
  return kind, parameters
end

local function file_name(field, value)
  header.check(field .. ".name", value)
  if value == "" or #value > 255 or value:find("[/\\]") or value == "." or value == ".." then
    fail("name", field .. ".name", "'%s' is no file name (1 to 255 bytes, no / and \\)", header.shown(value))
  end
  return value
end

local function file_part(field, file, known, disposition)
  if type(file) ~= "table" then fail("type", field, "must be a table, got %s", type(file)) end
  errors.check_options("mail.compose: " .. field, file, known)
  if type(file.data) ~= "string" then fail("type", field .. ".data", "must be a string of bytes, got %s", type(file.data)) end
  local kind <const>, parameters <const> = type_of(field, file.type)
  local name <const> = (disposition == "attachment" or file.name ~= nil) and file_name(field, file.name) or nil
  local places = {}
  if name then
    -- Old readers look here, and know no RFC 2231.
    local ascii <const> = header.ascii_name(name)
    if #ascii <= 64 then table.move(header.parameter("name", ascii), 1, 1, #parameters + 1, parameters) end
    places = header.parameter("filename", name)
  end
  local head = header.parameters("Content-Type", kind, parameters) .. "Content-Transfer-Encoding: base64\r\n"
    .. header.parameters("Content-Disposition", disposition, places)
  if file.cid then head = head .. header.line("Content-ID", "<" .. file.cid .. ">", field .. ".cid") end
  return head .. "\r\n" .. core.base64(file.data)
end

-- The line end before a boundary belongs to the boundary (RFC 2046, 5.1.1): no part ends with one of its own for it.
local function multipart(kind, boundary, parts, parameters)
  local head <const> = header.parameters("Content-Type", "multipart/" .. kind,
    table.move(parameters or {}, 1, #(parameters or {}), 2, { 'boundary="' .. boundary .. '"' }))
  local out <const> = { head, "\r\n" }
  for _, part in ipairs(parts) do
    out[#out + 1] = "--" .. boundary .. "\r\n"
    out[#out + 1] = part
    out[#out + 1] = "\r\n"
  end
  out[#out + 1] = "--" .. boundary .. "--"
  return table.concat(out)
end

local function files_of(field, list)
  if list == nil then return {} end
  if type(list) ~= "table" or list.data ~= nil then fail("type", field, "must be a list of tables") end
  return list
end

local function html_part(spec, boundary)
  local html <const> = text_part("html", body_text("html", spec.html))
  local inline <const> = files_of("inline", spec.inline)
  if #inline == 0 then return html end
  local parts <const>, seen <const> = { html }, {}
  for i, file in ipairs(inline) do
    local field <const> = string.format("inline[%d]", i)
    local cid <const> = type(file) == "table" and file.cid
    header.check(field .. ".cid", cid or nil)
    if not cid:find("^[%w.!#$&'*+/=?^_`{|}~@-]+$") or #cid > 200 then
      fail("cid", field .. ".cid", "'%s' has other characters than those of an address, or too many", header.shown(cid))
    end
    if seen[cid] then fail("cid", field .. ".cid", "'%s' is there twice", cid) end
    seen[cid] = true
    parts[i + 1] = file_part(field, file, INLINE, "inline")
  end
  return multipart("related", boundary(), parts, { 'type="text/html"' })
end

-- Neither quoted-printable nor base64 contains "=_", so no part can contain a boundary.
local function boundaries(seed)
  local stem <const>, n = "=_" .. crypto.sha256("garun.mail\0" .. seed):sub(1, 32), 0
  return function()
    n = n + 1
    return stem .. "_" .. n
  end
end

local function body_of(spec, seed)
  if spec.text == nil and spec.html == nil then fail("empty", "text", "text, html or both are needed") end
  if spec.html == nil and spec.inline ~= nil and #files_of("inline", spec.inline) > 0 then
    fail("inline", "inline", "needs html that shows it")
  end
  local boundary <const> = boundaries(seed)
  local attachments <const> = files_of("attachments", spec.attachments)
  local mixed <const> = #attachments > 0 and boundary()
  local both <const> = spec.text ~= nil and spec.html ~= nil and boundary()
  local text <const> = spec.text ~= nil and text_part("plain", body_text("text", spec.text))
  local html <const> = spec.html ~= nil and html_part(spec, boundary)
  local body <const> = both and multipart("alternative", both, { text, html }) or text or html
  if not mixed then return body end
  local parts <const> = { body }
  for i, file in ipairs(attachments) do
    parts[i + 1] = file_part(string.format("attachments[%d]", i), file, ATTACHMENT, "attachment")
  end
  return multipart("mixed", mixed, parts)
end

---- compose ----

function mail.compose(spec)
  spec = errors.check_options("mail.compose", spec, OPTIONS)
  for _, name in ipairs { "from", "to" } do
    if spec[name] == nil then fail("missing", name, "is missing") end
  end
  local from <const> = address.one("from", spec.from)
  local to <const> = address.list("to", spec.to)
  local cc <const> = spec.cc ~= nil and address.list("cc", spec.cc) or {}
  local message_id <const> = message_id_of(spec, from)
  local out <const> = {}
  local function add(text) out[#out + 1] = text end
  add(header.line("Date", date_of(spec.date)))
  add(header.addresses("From", { from }))
  if spec.sender ~= nil then add(header.addresses("Sender", { address.one("sender", spec.sender) })) end
  if spec.reply_to ~= nil then add(header.addresses("Reply-To", address.list("reply_to", spec.reply_to))) end
  add(header.addresses("To", to))
  if #cc > 0 then add(header.addresses("Cc", cc)) end
  add(header.line("Message-ID", message_id))
  if spec.subject ~= nil then add(header.text("Subject", header.check("subject", spec.subject))) end
  if spec.auto_submitted then
    local value <const> = spec.auto_submitted == true and "auto-generated" or spec.auto_submitted
    if value ~= "auto-generated" and value ~= "auto-replied" then
      fail("type", "auto_submitted", 'must be true, "auto-generated" or "auto-replied"')
    end
    add("Auto-Submitted: " .. value .. "\r\n")
  end
  if spec.list_id ~= nil then
    local id <const> = header.check("list_id", spec.list_id):match("^<?([%w._-]+%.[%w._-]+)>?$")
    if not id then fail("list_id", "list_id", "must be like reports.shop.example, got '%s'", header.shown(spec.list_id)) end
    add(header.line("List-Id", "<" .. id .. ">", "list_id"))
  end
  unsubscribe_of(spec, add)
  extra_headers(spec.headers, add)
  add "MIME-Version: 1.0\r\n"
  add(body_of(spec, spec.boundary == nil and message_id or header.check("boundary", spec.boundary)))
  local recipients <const> = {}
  for _, list in ipairs { to, cc } do
    for _, a in ipairs(list) do recipients[#recipients + 1] = a.address end
  end
  if not out[#out]:find("\r\n$") then add "\r\n" end
  local bytes <const> = table.concat(out)
  local head <const> = bytes:sub(1, (bytes:find("\r\n\r\n", 1, true)))
  return {
    bytes = bytes, message_id = message_id, from = from.address, recipients = recipients,
    smtputf8 = head:find("[\x80-\xFF]") ~= nil,
  }
end

function mail.address(value)
  return address.one("address", value)
end

return mail
