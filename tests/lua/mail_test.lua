-- garun.mail: what a message is made of comes out of it again, by Python's email package as the reader; no header or
-- address can inject anything; the same input gives the same bytes.
local t <const> = require "garun.test"
local config <const> = require "garun.config"
local crypto <const> = require "garun.crypto"
local fs <const> = require "garun.fs"
local json <const> = require "garun.json"
local mail <const> = require "garun.mail"

local function copy(v)
  if type(v) ~= "table" then return v end
  local out <const> = {}
  for k, x in pairs(v) do out[k] = copy(x) end
  return out
end

-- Composes each spec and has Python compare. Addresses are { name =, address =, ascii = what is to come out }.
local function compare(specs)
  local cases <const> = {}
  for i, spec in ipairs(specs) do
    local given <const> = copy(spec)
    for _, field in ipairs { "from", "to", "cc", "reply_to" } do
      for _, a in ipairs(given[field] and (given[field][1] and given[field] or { given[field] }) or {}) do a.ascii = nil end
    end
    local m <const> = mail.compose(given)
    for _, field in ipairs { "inline", "attachments" } do
      for _, file in ipairs(spec[field] or {}) do file.data = crypto.base64_encode(file.data) end
    end
    cases[i] = { spec = spec, bytes = crypto.base64_encode(m.bytes), smtputf8 = m.smtputf8 }
  end
  local path <const> = t.tmpdir() .. "/cases.json"
  fs.write(path, json.encode(cases))
  local r <const> = t.run { "/usr/bin/python3", config.path "tests/lua/mail_oracle.py", path }
  t.equal(r.stderr, "")
  t.equal(r.stdout, #specs .. " mails\n")
end

local function spec(fields)
  local s <const> = { from = { address = "a@shop.example", ascii = "a@shop.example" },
    to = { address = "b@shop.example", ascii = "b@shop.example" }, date = 1704434400, message_id = "<1@shop.example>" }
  for k, v in pairs(fields) do s[k] = v end
  return s
end

local LONG <const> = "Übersicht über die Umsätze aller Filialen in Köln, Düsseldorf, Nürnberg und Lüdenscheid — KW 45, vorläufig"

t.test("text, html, inline images and attachments come out as they went in", function()
  local image <const> = crypto.random(5000)
  compare {
    spec { text = "hello" },
    spec { subject = "x", text = "" },
    spec { subject = LONG, html = "<p>ü</p>" },
    spec { subject = "s", text = "a\r\nb\rc\nd \ne\t\n.\n..\n.x\nFrom me\n=\n" .. ("x"):rep(300) .. "\n" .. ("ü"):rep(300), html = "<b>x</b>" },
    spec { text = "Привет, это длинный текст на русском языке.\n", html = "<p>ещё</p>" },
    spec { html = "<img src=cid:logo>", inline = { { cid = "logo", type = "image/png", data = image } } },
    spec { text = "t", html = "<img src=cid:logo>",
      inline = { { cid = "logo", type = "image/png", name = "logo.png", data = image }, { cid = "x@y", type = "image/gif", data = "" } },
      attachments = {
        { name = "report.csv", type = "text/csv; charset=utf-8", data = "a;b\n1;2\n" },
        { name = "Umsätze Köln \"Ost\" (KW 45).xlsx", data = image },
        { name = ("sehr-lang-"):rep(20) .. ".txt", type = "text/plain", data = "x" },
        { name = ("größer-"):rep(25) .. ".txt", type = "text/plain", data = "" },
        { name = "a b;c=d'e*f%g.bin", data = ("\0\r\n.\r\n"):rep(100) } } },
    spec { text = "t", attachments = { { name = "only", data = "x" } } },
  }
end)

t.test("names, addresses and extra headers survive encoding and folding", function()
  local function who(name, address, ascii) return { name = name, address = address, ascii = ascii or address } end
  compare {
    spec { text = "t", from = who("Jürgen Müller", "j@shop.example") },
    spec { text = "t", from = who(LONG:gsub(",", ""), "j@shop.example") },
    spec { text = "t", from = who("Müller, Jürgen (Köln) <x@y>", "j@shop.example"), to = {
      who("Smith, John", "john@shop.example"), who('The "Boss" \\ co', "boss@shop.example"), who(nil, "x@shop.example"),
      who("日本語の名前", "jp@shop.example"), who(("Long Name "):rep(20):sub(1, -2), "long@shop.example"),
      who("a.b", "ab@shop.example"), who("=?UTF-8?Q?x?=", "ew@shop.example") } },
    spec { text = "t", to = who(nil, "b@bücher.example", "b@xn--bcher-kva.example") },
    spec { text = "t", to = who("Größe", "grüße@shop.example") },
    spec { text = "t", to = who(nil, ("l"):rep(64) .. "@" .. ("d"):rep(60) .. "." .. ("e"):rep(60) .. ".example") },
    spec { text = "t", subject = "=?UTF-8?B?w7w=?= looks encoded" },
    spec { text = "t", subject = "two  blanks and one at the end " },
    spec { text = "t", subject = ("word "):rep(60) .. "end" },
    spec { text = "t", subject = ("x"):rep(200) },
    spec { text = "t", subject = ("🎉"):rep(100) },
    spec { text = "t", headers = { ["X-Garun-Delivery"] = "0191e0b0", ["X-Note"] = LONG,
      ["X-" .. ("Long-"):rep(12) .. "x"] = "ü" } },
  }
end)

t.test("random Unicode comes out as it went in", function()
  local seed <const> = os.time()
  math.randomseed(seed)
  local function char(lines)
    local kind <const> = math.random(10)
    if kind <= 4 then return string.char(math.random(32, 126)) end
    if kind == 5 then return lines and ("\n.\n"):sub(1, math.random(3)) or " " end
    if kind == 6 then return utf8.char(math.random(0xA1, 0x2FF)) end
    if kind == 7 then return utf8.char(math.random(0x400, 0xFFF)) end
    if kind == 8 then return utf8.char(math.random(0x3040, 0xD7FF)) end
    if kind == 9 then return utf8.char(math.random(0x1F300, 0x1FAFF)) end
    return " "
  end
  local function text(max, lines)
    local out <const> = {}
    for i = 1, math.random(0, max) do out[i] = char(lines) end
    return table.concat(out)
  end
  local function name(max)        -- Python trims a display name and reads a blank one as none
    local s <const> = text(max):gsub("^%s+", ""):gsub("%s+$", "")
    return s ~= "" and s or "x"
  end
  local specs <const> = {}
  for i = 1, 150 do
    local s <const> = spec { subject = text(150), text = text(2000, true), date = math.random(0, 4000000000) }
    s.from.name = name(60)
    if math.random(2) == 1 then s.html = text(3000, true) end
    if s.html and math.random(2) == 1 then
      s.inline = { { cid = "c" .. i, type = "image/png", data = crypto.random(math.random(200)) } }
    end
    s.attachments = {}
    for n = 1, math.random(0, 2) do
      s.attachments[n] = { name = name(80):gsub("[/\\]", "_"):sub(1, 100):gsub("[\x80-\xFF]+$", "") .. "." .. n,
        data = crypto.random(math.random(2000)) }
    end
    if #s.attachments == 0 then s.attachments = nil end
    specs[i] = s
  end
  local ok <const>, err <const> = pcall(compare, specs)
  if not ok then error("seed " .. seed .. ": " .. tostring(err), 0) end
end)

t.test("the same input gives the same bytes, another seed other boundaries", function()
  local function full(more)
    local s <const> = { from = "a@x.example", to = "b@x.example", date = 1704434400, message_id = "<1@x.example>", text = "t",
      html = "h", attachments = { { name = "f", data = "d" } }, headers = { ["X-A"] = "1", ["X-B"] = "2", ["X-C"] = "3" } }
    for k, v in pairs(more or {}) do s[k] = v end
    return mail.compose(s).bytes
  end
  t.equal(full() == full(), true)
  t.equal(full() == full { boundary = "other" }, false)
  t.equal(full { boundary = "one", message_id = "<2@x.example>" }:gsub("<2@", "<1@") == full { boundary = "one" }, true)
end)

t.test("message_id and date are made when they are not given", function()
  local a <const>, b <const> = mail.compose { from = "a@bücher.example", to = "b@x.example", text = "t" },
    mail.compose { from = "a@x.example", to = "b@x.example", text = "t", domain = "mail.shop.example" }
  t.match(a.message_id, "^<%x+%-%x+%-7%x+%-%x+%-%x+@xn%-%-bcher%-kva%.example>$")
  t.match(b.message_id, "@mail%.shop%.example>$")
  t.match(b.bytes, "^Date: %a%a%a, %d%d %a%a%a 20%d%d %d%d:%d%d:%d%d %+0000\r\n")
  t.equal({ a.from, a.recipients }, { "a@xn--bcher-kva.example", { "b@x.example" } })
  local c <const> = mail.compose { from = "A <a@x.example>", to = { "b@x.example", { "C", "c@x.example" } },
    cc = '"D, d" <d@x.example>', text = "t" }
  t.equal(c.recipients, { "b@x.example", "c@x.example", "d@x.example" })
  t.match(c.bytes, 'To: b@x.example, C <c@x.example>\r\nCc: "D, d" <d@x.example>\r\n')
end)

t.test("List-Unsubscribe stays on one line, with one click where it is wanted", function()
  local url <const> = "https://shop.example/u?token=" .. ("x"):rep(300)
  local m <const> = mail.compose(spec { from = "a@x.example", to = "b@x.example", text = "t", auto_submitted = true,
    list_id = "reports.shop.example", list_unsubscribe = { url, "mailto:u@shop.example?subject=stop" }, list_unsubscribe_post = true })
  t.ok(m.bytes:find("\r\nList-Unsubscribe: <" .. url .. ">, <mailto:u@shop.example?subject=stop>\r\n"
    .. "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", 1, true))
  t.match(m.bytes, "\r\nAuto%-Submitted: auto%-generated\r\nList%-Id: <reports.shop.example>\r\n")
  local function bad(fields, pattern)
    fields.text = "t"
    t.match(t.raises({ kind = "mail" }, mail.compose, spec(fields)).message, pattern)
  end
  local plain <const> = { address = "a@x.example" }
  bad({ from = plain, to = plain, list_unsubscribe = "http://shop.example/u" }, "list_unsubscribe: ")
  bad({ from = plain, to = plain, list_unsubscribe_post = true }, "list_unsubscribe_post: needs list_unsubscribe")
  bad({ from = plain, to = plain, list_unsubscribe = "mailto:u@x.example", list_unsubscribe_post = true }, "needs an https URL")
  bad({ from = plain, to = plain, list_unsubscribe = "https://x.example/" .. ("x"):rep(1000) }, "998 are allowed")
end)

t.test("nothing can inject a line: every field refuses line breaks, NUL and control characters, and says where", function()
  local good <const> = { from = "a@x.example", to = "b@x.example", subject = "s", text = "t", html = "h" }
  local fields <const> = {
    subject = function(v) return v end,
    from = function(v) return { name = v, address = "a@x.example" } end,
    sender = function(v) return "a" .. v .. "@x.example" end,
    to = function(v) return { "b@x.example", "c@x" .. v .. ".example" } end,
    cc = function(v) return "c@x.example" .. v end,
    reply_to = function(v) return { address = "c@x.example" .. v } end,
    message_id = function(v) return "<a" .. v .. "@x>" end,
    domain = function(v) return "x" .. v .. ".example" end,
    boundary = function(v) return v end,
    list_id = function(v) return "a.b" .. v end,
    list_unsubscribe = function(v) return "https://x.example/" .. v end,
    headers = function(v) return { ["X-A"] = v } end,
    inline = function(v) return { { cid = "x" .. v, type = "image/png", data = "" } } end,
    attachments = function(v) return { { name = "a" .. v, data = "" } } end,
  }
  for field, make in pairs(fields) do
    for _, v in ipairs { "\r\nBcc: evil@x.example", "\n", "\r", "\0", "\t", "\x7F", "\xC2\x85", "\xFF", "\xC3" } do
      local s <const> = copy(good)
      s[field] = make("x" .. v .. "x")
      local e <const> = t.raises({ kind = "mail" }, mail.compose, s)
      t.match(e.message, "^mail: " .. field, field)
      t.ok(not e.message:find("%c"), "the error is printable: " .. e.message)
    end
  end
  for _, type_ in ipairs { "text/csv\r\nX: y", "text", "multipart/mixed", "text/csv; charset=a b", "text/csv; x=\"y\"" } do
    t.raises("attachments%[1%].type", mail.compose, { from = "a@x.example", to = "b@x.example", text = "t",
      attachments = { { name = "x", type = type_, data = "" } } })
  end
  for name in pairs { ["X-A\r\nBcc"] = 1, ["X A"] = 1, ["X:"] = 1, [""] = 1, Bcc = 1, ["content-type"] = 1, FROM = 1, ["Received"] = 1 } do
    t.raises("^mail: mail: headers", mail.compose, { from = "a@x.example", to = "b@x.example", text = "t", headers = { [name] = "x" } })
  end
end)

t.test("addresses are checked, and the error says what is wrong with which", function()
  for address, why in pairs {
    ["a"] = "it has no @", [""] = "it has no @", ["@x.example"] = "nothing is before", ["a@"] = "nothing is behind",
    ["a b@x.example"] = "a blank", [".a@x.example"] = "a dot", ["a.@x.example"] = "a dot", ["a..b@x.example"] = "a dot",
    ["a@x..example"] = "an empty part", ["a@-x.example"] = "is no part of a domain", ["a@x_y!.example"] = "no part of a domain",
    ["a@b@x.example"] = "'@' is not allowed", ["a@x.example."] = "an empty part", ['"a@x.example'] = "quotes",
    [("l"):rep(65) .. "@x.example"] = "64 are allowed", ["a@" .. ("x"):rep(64) .. ".example"] = "63 are allowed",
    ["a@" .. ("abcdefgh."):rep(28) .. "example"] = "allowed", ["a,b@x.example"] = "',' is not allowed",
    ["a@x.example, b@x.example"] = "'@' is not allowed", ["<a@x.example"] = "'<' is not allowed",
    ["a@\xE2\x80\x8B.example"] = "domain", ["a;b@x.example"] = "not allowed",
  } do
    local e <const> = t.raises({ kind = "mail", code = "address" }, mail.compose, { from = "f@x.example", to = { "b@x.example",
      { address = address } }, text = "t" })
    t.match(e.message, "^mail: to%[2%]: ")
    t.match(e.message, why, address)
  end
  for _, address in ipairs { "a@localhost", "a+b@x.example", '"a b"@x.example', "a@[127.0.0.1]", "a@[IPv6:::1]", "o'neil@x.example" } do
    t.equal(mail.address(address), { address = address })
  end
  t.equal(mail.address("Ann B <a@BÜCHER.example>"), { name = "Ann B", address = "a@xn--bcher-kva.example" })
end)

t.test("what else is wrong with a message is said with the field's name", function()
  for pattern, fields in pairs {
    ["text: text, html or both"] = {},
    ["text: is not valid UTF%-8, at byte 3"] = { text = "ab\xFF" },
    ["html: has a NUL at byte 2"] = { html = "x\0" },
    ["inline: needs html"] = { text = "t", inline = { { cid = "x", type = "image/png", data = "" } } },
    ["inline%[2%].cid: 'x' is there twice"] = { html = "t", inline = { { cid = "x", data = "" }, { cid = "x", data = "" } } },
    ["attachments%[1%].name: must be a string"] = { text = "t", attachments = { { data = "" } } },
    ["attachments%[1%].name: 'a/b' is no file name"] = { text = "t", attachments = { { name = "a/b", data = "" } } },
    ["attachments%[1%].data: must be a string"] = { text = "t", attachments = { { name = "x" } } },
    ["attachments: must be a list"] = { text = "t", attachments = { name = "x", data = "" } },
    ["date: must be seconds"] = { text = "t", date = "yesterday" },
    ["to: the list is empty"] = { text = "t", to = {} },
    ["unknown option 'subjekt', did you mean 'subject'"] = { text = "t", subjekt = "x" },
    ["unknown option 'naem', did you mean 'name'"] = { text = "t", attachments = { { naem = "x", data = "" } } },
  } do
    local s <const> = { from = "a@x.example", to = "b@x.example" }
    for k, v in pairs(fields) do s[k] = v end
    t.match(t.raises({}, mail.compose, s).message, pattern)
  end
  t.raises("from: is missing", mail.compose, { to = "a@x.example", text = "t" })
end)
