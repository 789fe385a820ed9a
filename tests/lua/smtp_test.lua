-- garun.smtp against a real server (aiosmtpd) and against one that records every byte: what arrives is what was composed.
local t <const> = require "garun.test"
local crypto <const> = require "garun.crypto"
local mail <const> = require "garun.mail"
local smtp <const> = require "garun.smtp"
local support <const> = require "smtp_support"
local task <const> = require "garun.task"

local function message(fields)
  local s <const> = { from = "reports@shop.example", to = "sales@shop.example", subject = "Übersicht", text = "Grüße\n.\n..\n" }
  for k, v in pairs(fields or {}) do s[k] = v end
  return mail.compose(s)
end

local function raw(body) return "From: a@x.example\r\nSubject: x\r\n\r\n" .. body end

t.test("the bytes that arrive are the bytes composed, over STARTTLS with a login, on one kept connection", function()
  local pair <const> = support.certificate "localhost"
  local server <const> = support.serve("real", { cert = pair.cert, key = pair.key, user = "me@shop.example", password = "geheim-und-lang" })
  local client <close> = smtp.connect { server = "localhost", port = server.port, ca = pair.cert, username = "me@shop.example",
    password = "geheim-und-lang" }
  local sent <const> = {}
  local function send(bytes)
    local r <const> = client:send(bytes, { from = "a@x.example", to = "b@x.example" })
    t.equal({ r.code, r.enhanced }, { 250, "2.0.0" })
    t.match(r.queue_id, "^4ABC%d+$")
    sent[#sent + 1] = bytes:sub(-2) == "\r\n" and bytes or bytes .. "\r\n"
  end
  send(message({ html = "<b>x</b>", attachments = { { name = "ü.bin", data = crypto.random(100000) } } }).bytes)
  for _, body in ipairs { "", ".", "..", ".\r\n", "\r\n.\r\n..\r\n.x\r\n", "a\r\n.", "no line end", ("."):rep(998) .. "\r\n",
    ("x"):rep(998) .. "\r\n" .. (".y"):rep(400) .. "\r\n", ("0123456789abcde\r\n"):rep(60000) } do
    send(raw(body))
  end
  t.equal(#server.mails(), #sent)
  for i, bytes in ipairs(server.mails()) do t.equal(bytes == sent[i], true, "mail " .. i) end
  local peers <const> = {}
  for _, e in ipairs(server.log()) do
    peers[e.peer] = true
    t.equal({ e.mail_from, e.rcpt_tos, e.tls, e.user }, { "a@x.example", { "b@x.example" }, true, "me@shop.example" })
  end
  t.ok(next(peers) and not next(peers, next(peers)), "one connection for all")
  t.equal(client:status().opened, 1)
end)

t.test("one transaction for each mail on one connection, pipelined, and QUIT at the end", function()
  local server <const> = support.serve("faults", {})
  do
    local client <close> = smtp.connect { server = "127.0.0.1", port = server.port, tls = "none", hello = "client.test" }
    t.equal(client:check(), { extensions = { "8BITMIME", "PIPELINING", "SIZE" }, max_size = 33554432 })
    for i = 1, 3 do
      local m <const> = message { text = "mail " .. i, message_id = "<" .. i .. "@x>" }
      t.equal(client:send(m), { code = 250, enhanced = "2.0.0", reply = "2.0.0 Ok: queued as QID", queue_id = "QID" })
      t.equal(server.mails()[i] == m.bytes, true)
    end
  end
  server.wait("why", "quit")
  local verbs <const>, ahead = {}, 0
  for _, e in ipairs(server.log()) do
    t.equal(e.conn, 1)
    if e.command then
      verbs[#verbs + 1] = e.command:match("^%a+")
      if verbs[#verbs] == "MAIL" and e.ahead > 0 then ahead = ahead + 1 end
    end
  end
  t.equal(table.concat(verbs, " "), "EHLO NOOP MAIL RCPT DATA MAIL RCPT DATA MAIL RCPT DATA QUIT")
  t.equal(server.log("command")[1], "EHLO client.test")
  t.equal(ahead, 3, "RCPT and DATA came along with MAIL")
end)

t.test("a server without PIPELINING gets one command at a time, without SIZE no size", function()
  local server <const> = support.serve("faults", { EHLO = "250 old.test" })
  local client <close> = smtp.connect { server = "127.0.0.1", port = server.port, tls = "none" }
  client:send(message())
  local from
  for _, e in ipairs(server.log()) do
    if e.command then t.equal(e.ahead, 0, e.command) end
    if e.command and e.command:match("^MAIL") then from = e.command end
  end
  t.equal(from, "MAIL FROM:<reports@shop.example>")
end)

t.test("a relay at an IPv6 address", function()
  local ok <const>, server <const> = pcall(support.serve, "faults", { host = "::1" })
  if not ok then t.skip "no IPv6 here" end
  local client <close> = smtp.connect { server = "::1", port = server.port, tls = "none" }
  t.match(tostring(client), "relay %[::1%]:%d+")
  t.equal(client:send(message()).code, 250)
end)

t.test("implicit TLS, and the null sender of bounces", function()
  local pair <const> = support.certificate "localhost"
  local server <const> = support.serve("real", { cert = pair.cert, key = pair.key, implicit = true })
  local client <close> = smtp.connect { server = "localhost", port = server.port, tls = "implicit", ca = pair.cert }
  client:send(message(), { from = "" })
  t.equal(server.log()[1].mail_from, "<>")
end)

t.test("wrong certificates, missing STARTTLS and the wrong kind of TLS are refused before anything is said", function()
  local pair <const> = support.certificate "localhost"
  local server <const> = support.serve("faults", { cert = pair.cert, key = pair.key,
    EHLO = { "250-x\n250-STARTTLS\n250 AUTH PLAIN", "250-x\n250 AUTH PLAIN" } })
  local at <const> = { server = "localhost", port = server.port, username = "me", password = "password-canary" }
  local function try(fields, more)
    local o <const> = {}
    for k, v in pairs(at) do o[k] = v end
    for k, v in pairs(more or {}) do o[k] = v end
    local e <const> = t.raises(fields, smtp.connect, o)
    t.equal(e.outcome, "not_sent")
    t.ok(not tostring(e):find("canary", 1, true))
    return e
  end
  t.match(try({ kind = "smtp", code = "tls", stage = "tls", retryable = false }).hint, "valid for 'localhost'")
  local plain <const> = support.serve("faults", { EHLO = "250-x\n250 AUTH PLAIN" })
  at.port = plain.port
  try({ code = "no_starttls", stage = "starttls", retryable = false })
  try({ code = "tls", stage = "tls", retryable = false }, { tls = "implicit", ca = pair.cert })
  local stripped <const> = support.serve("faults", { EHLO = "250-x\n250 STARTTLS", STARTTLS = "454 4.7.0 not now" })
  at.port = stripped.port
  try({ code = "454", stage = "starttls", retryable = true })
  local injected <const> = support.serve("faults", { cert = pair.cert, key = pair.key, EHLO = "250-x\n250 STARTTLS",
    STARTTLS = "220 go\n250-x\n250 AUTH PLAIN" })
  at.port = injected.port
  try({ stage = "starttls" }, { ca = pair.cert })
  local other <const> = support.certificate "other.example"
  local real <const> = support.serve("real", { cert = other.cert, key = other.key })
  at.port = real.port
  t.match(try({ code = "tls", retryable = false }, { ca = other.cert }).message, "localhost")
  try({ code = "tls", retryable = false }, { ca = "/nonexistent/ca.pem" })
  for _, s in ipairs { server, plain, stripped, injected } do
    for _, command in ipairs(s.log "command") do t.ok(not command:find("^AUTH") and not command:find("^MAIL"), command) end
  end
end)

t.test("client certificates and pinned keys", function()
  local pair <const>, mine <const> = support.certificate "localhost", support.certificate "client.test"
  local server <const> = support.serve("faults", { cert = pair.cert, key = pair.key, client_ca = mine.cert, implicit = true })
  local at <const> = { server = "localhost", port = server.port, tls = "implicit", ca = pair.cert, cert = mine.cert, key = mine.key }
  local client <close> = smtp.connect(at)
  t.equal(client:send(message()).code, 250)
  at.pin = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
  t.raises({ kind = "smtp", code = "tls", retryable = false }, smtp.connect, at)
  local r <const> = t.run { "sh", "-c", "openssl x509 -in \"$0\" -pubkey -noout | openssl pkey -pubin -outform der"
    .. " | openssl dgst -sha256 -binary | openssl base64", pair.cert }
  at.pin = "sha256//" .. r.stdout:gsub("%s", "")
  local pinned <close> = smtp.connect(at)
  t.equal(pinned:send(message()).code, 250)
  at.pin, at.cert, at.key = nil, nil, nil
  t.raises({ kind = "smtp", outcome = "not_sent" }, smtp.connect, at)
end)

t.test("a login that is refused, not offered, or offered by other mechanisms only", function()
  local pair <const> = support.certificate "localhost"
  local real <const> = support.serve("real", { cert = pair.cert, key = pair.key, user = "me", password = "right-password" })
  local function with(server, more)
    local o <const> = { server = "127.0.0.1", port = server.port, tls = "none", username = "me", password = "wrong-canary" }
    for k, v in pairs(more or {}) do o[k] = v end
    return o
  end
  local e <const> = t.raises({ kind = "smtp", code = "535", stage = "auth", retryable = false, outcome = "not_sent", enhanced = "5.7.8" },
    smtp.connect, with(real, { server = "localhost", tls = "starttls", ca = pair.cert }))
  t.ok(not tostring(e):find("canary"))
  local none <const> = support.serve("faults", {})
  t.raises({ code = "auth", stage = "auth", retryable = false }, smtp.connect, with(none))
  local other <const> = support.serve("faults", { EHLO = "250-x\n250 AUTH GSSAPI SCRAM-SHA-1" })
  t.match(t.raises({ code = "auth", stage = "auth" }, smtp.connect, with(other)).message, "it has: GSSAPI SCRAM%-SHA%-1")
  local later <const> = support.serve("faults", { EHLO = "250-x\n250 AUTH PLAIN", AUTH = { "334 ", "454 4.7.0 later" } })
  t.raises({ code = "454", stage = "auth", retryable = true }, smtp.connect, with(later))
  local echo <const> = support.serve("faults", { EHLO = "250-x\n250 AUTH PLAIN", AUTH = { "334 ", "535 not wrong-canary" } })
  t.match(tostring(t.raises({ code = "535" }, smtp.connect, with(echo))), "not %*%*%*")
  local kept <const> = support.serve("faults", { EHLO = "250-x\n250 AUTH PLAIN", AUTH = { "334 ", "235 ok" } })
  local client <close> = smtp.connect(with(kept))
  client:check()
  t.ok(not require("garun.json").encode(client:status()):find("canary"))
  for k, v in pairs(client.options) do t.ok(not tostring(v):find("canary"), k) end
end)

t.test("a password never goes in clear text to another machine", function()
  for _, server in ipairs { "relay.example", "10.0.0.1", "127.0.0.1.example", "localhost.example" } do
    t.raises("never goes to", smtp.connect, { server = server, tls = "none", username = "u", password = "pppp" })
  end
  local path <const> = t.tmpdir() .. "/relay"
  local server <const> = support.serve("faults", { socket = path, EHLO = "250-x\n250 AUTH PLAIN", AUTH = { "334 ", "235 ok" } })
  t.equal(server.port, 0)
  local client <close> = smtp.connect { server = path, tls = "none", username = "u", password = "pppp" }
  client:send(message())
  t.equal(#server.mails(), 1)
end)

t.test("addresses beyond ASCII go to relays with SMTPUTF8 only", function()
  local m <const> = message { to = "grüße@bücher.example" }
  local plain <const> = support.serve("faults", {})
  local client <close> = smtp.connect { server = "127.0.0.1", port = plain.port, tls = "none" }
  t.raises({ kind = "smtp", code = "smtputf8", outcome = "not_sent", retryable = false }, client.send, client, m)
  t.equal(client:send(message { to = "b@bücher.example" }).code, 250)
  local real <const> = support.serve("real", {})
  local other <close> = smtp.connect { server = "127.0.0.1", port = real.port, tls = "none" }
  other:send(m)
  t.equal(real.log()[1].rcpt_tos, { "grüße@xn--bcher-kva.example" })
  t.equal(real.mails()[1] == m.bytes, true)
end)

t.test("bytes beyond ASCII need 8BITMIME, and the relay's size limit is known before the mail is sent", function()
  local server <const> = support.serve("faults", { EHLO = { "250-x\n250-SIZE 1000\n250 8BITMIME", "250 x" } })
  local at <const> = { server = "127.0.0.1", port = server.port, tls = "none" }
  local to <const> = { from = "a@x.example", to = "b@x.example" }
  do
    local client <close> = smtp.connect(at)
    client:send(raw "ü\r\n", to)
    t.match(table.concat(server.log("command"), "\n"), "MAIL FROM:<a@x.example> SIZE=%d+ BODY=8BITMIME")
    t.raises({ code = "too_big", outcome = "not_sent", retryable = false }, client.send, client, raw(("x\r\n"):rep(500)), to)
    client:send(raw "still usable\r\n", to)
  end
  local client <close> = smtp.connect(at)
  t.raises({ code = "8bit", outcome = "not_sent" }, client.send, client, raw "ü\r\n", to)
end)

t.test("nothing can inject a command or a mail: addresses and bytes are checked before the relay hears of them", function()
  local server <const> = support.serve("faults", {})
  local client <close> = smtp.connect { server = "127.0.0.1", port = server.port, tls = "none" }
  for _, address in ipairs { "b@x.example>\r\nRCPT TO:<evil@x.example", "b@x.example\n", "b@x.example> NOTIFY=NEVER", "", "x",
    "b@x.example\0", "<b@x.example>", "a b@x.example" } do
    t.raises({ kind = "mail" }, client.send, client, message(), { to = address })
    if address ~= "" then t.raises({ kind = "mail" }, client.send, client, message(), { from = address, to = "b@x.example" }) end
  end
  for bytes, what in pairs { ["a\nb\r\n"] = "an LF without CR at byte 2", ["a\r\n.\n\r\n"] = "an LF without CR at byte 5",
    ["a\rb\r\n"] = "a CR without LF at byte 2", ["a\r"] = "a CR without LF at byte 2", ["a\0\r\n"] = "a NUL at byte 2",
    ["\n.\r\n"] = "an LF without CR at byte 1", [("x"):rep(999) .. "\r\n"] = "more than 998 bytes" } do
    local e <const> = t.raises({ kind = "smtp", code = "message" }, client.send, client, bytes, { from = "a@x.example", to = "b@x.example" })
    t.match(e.message, what)
  end
  t.equal(#server.log "command", 1)
  t.raises("control characters", smtp.connect, { server = "127.0.0.1", tls = "none", hello = "x\r\nRSET" })
  t.raises("hello must be a host name", smtp.connect, { server = "127.0.0.1", tls = "none", hello = "x SIZE=1" })
  t.raises("control characters", smtp.connect, { server = "127.0.0.1\r\n", tls = "none" })
  t.raises("no host name or address", smtp.connect, { server = "127.0.0.1:25/x?", tls = "none" })
end)

t.test("many tasks send over a few connections, each mail once", function()
  local server <const> = support.serve("real", {})
  local client <close> = smtp.connect { server = "127.0.0.1", port = server.port, tls = "none", connections = 3 }
  local numbers <const> = {}
  for i = 1, 60 do numbers[i] = i end
  task.map(numbers, function(i) client:send(message { to = i .. "@shop.example", text = "to " .. i }) end, { concurrency = 20 })
  t.equal(client:status(), { idle = 3, connections = 3, opened = 3, closed = false })
  local seen, peers = {}, {}
  for _, e in ipairs(server.log()) do
    t.equal(seen[e.rcpt_tos[1]], nil)
    seen[e.rcpt_tos[1]], peers[e.peer] = true, true
  end
  for i = 1, 60 do t.ok(seen[i .. "@shop.example"]) end
  local n = 0
  for _ in pairs(peers) do n = n + 1 end
  t.equal(n, 3)
end)

t.test("a closed client says so; closing twice is nothing", function()
  local server <const> = support.serve("faults", { EHLO = "250 x" })
  local client <const> = smtp.connect { server = "127.0.0.1", port = server.port, tls = "none" }
  t.match(tostring(client), "^smtp client of relay 127%.0%.0%.1:%d+$")
  client:close()
  client:close()
  t.raises({ kind = "smtp", code = "closed" }, client.send, client, message())
  t.raises({ kind = "smtp", code = "closed" }, client.check, client)
end)

t.test("wrong use is refused before any connection", function()
  for pattern, o in pairs {
    ["'server' is missing"] = {}, ["unknown option 'sever', did you mean 'server'"] = { sever = "x" },
    ["'tls' must be"] = { server = "x", tls = "maybe" }, ["'port' must be an integer"] = { server = "x", port = "25" },
    ["'connections' must be"] = { server = "x", connections = 0 }, ["'timeout' must be"] = { server = "x", timeout = 0 / 0 },
    ["needs a password or a token"] = { server = "x", username = "u" }, ["needs a username"] = { server = "x", password = "pppp" },
    ["not both"] = { server = "x", username = "u", password = "pppp", token = "tttt" },
    ["mechanisms are PLAIN"] = { server = "x", auth = "KERBEROS" }, ["belong to option 'cert'"] = { server = "x", key = "k" },
  } do
    t.raises(pattern, smtp.connect, o)
  end
  local server <const> = support.serve("faults", {})
  local client <close> = smtp.connect { server = "127.0.0.1", port = server.port, tls = "none" }
  t.raises("has 2 recipients", client.send, client, message { to = { "a@x.example", "b@x.example" } })
  t.raises("on_dot must be a function", client.send, client, message(), { on_dot = true })
  t.raises("to must be an address", client.send, client, "x\r\n", { from = "a@x.example" })
  t.raises("unknown option", client.send, client, message(), { too = "x" })
end)
