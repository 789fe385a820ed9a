-- What goes wrong between garun.smtp and a relay, at every stage: which error, which outcome, and that nothing is sent
-- twice, nothing blocks and nothing stays behind.
local t <const> = require "garun.test"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local mail <const> = require "garun.mail"
local smtp <const> = require "garun.smtp"
local support <const> = require "smtp_support"
local task <const> = require "garun.task"

local small <const> = mail.compose { from = "a@x.example", to = "b@x.example", subject = "s", text = "hello\n.\n" }
local middle <const> = mail.compose { from = "a@x.example", to = "b@x.example", text = ("0123456789\n"):rep(100000) }
local large <const> = mail.compose { from = "a@x.example", to = "b@x.example", text = ("0123456789\n"):rep(1000000) }

-- A server with these faults and a client of it.
local function pair(faults, options)
  local server <const> = support.serve("faults", faults)
  local o <const> = { server = "127.0.0.1", port = server.port, tls = "none" }
  for k, v in pairs(options or {}) do o[k] = v end
  local client <const> = smtp.connect(o)
  t.after(function() client:close() end)
  return client, server, o
end

local function opened(server)
  local n = 0
  for _, event in ipairs(server.log "event") do n = n + (event == "open" and 1 or 0) end
  return n
end

t.test("a refusal at each stage has the relay's code and text, and the connection stays for the next mail", function()
  for _, case in ipairs {
    { "MAIL", "mail", "451 4.3.0 later", true, "4.3.0" }, { "MAIL", "mail", "550 5.7.1 you may not", false, "5.7.1" },
    { "RCPT", "rcpt", "450 4.2.1 greylisted", true, "4.2.1" }, { "RCPT", "rcpt", "550-5.1.1 no such\n550 5.1.1 user", false, "5.1.1" },
    { "DATA", "data", "451 no", true }, { "DATA", "data", "554 no", false },
    { "DOT", "dot", "451 4.3.0 try again", true, "4.3.0" }, { "DOT", "dot", "552 5.3.4 too big", false, "5.3.4" },
  } do
    local verb <const>, stage <const>, reply <const>, retryable <const>, enhanced <const> = table.unpack(case)
    for _, ehlo in ipairs { "250-x\n250 PIPELINING", "250 x" } do
      local client <const>, server <const> = pair { EHLO = ehlo, [verb] = { reply, verb == "DATA" and "354 go" or "250 fine" } }
      local dots = 0
      local e <const> = t.raises({ kind = "smtp", code = reply:sub(1, 3), stage = stage, outcome = "rejected", retryable = retryable,
        enhanced = enhanced }, client.send, client, small, { on_dot = function() dots = dots + 1 end })
      t.match(e.reply, reply:match("%a+$") .. "$")
      t.equal(dots, stage == "dot" and 1 or 0)
      if verb == "RCPT" and ehlo ~= "250 x" then
        -- This relay goes on with DATA although it has no recipient: the connection must go, or the mail would come.
        client:send(small)
        t.equal(opened(server), 2)
      else
        client:send(small)
        t.equal(opened(server), verb == "MAIL" and ehlo ~= "250 x" and 2 or 1, verb .. " " .. ehlo)
      end
      t.equal(#server.mails(), stage == "dot" and 2 or 1)
      t.equal(server.mails()[#server.mails()] == small.bytes, true)
    end
  end
end)

t.test("after a refused recipient the transaction is reset", function()
  local client <const>, server <const> = pair { RCPT = { "550 no", "250 ok" }, DATA = { "554 no valid recipients", "354 go" } }
  t.raises({ code = "550", stage = "rcpt" }, client.send, client, small)
  client:send(small)
  local verbs <const> = {}
  for i, c in ipairs(server.log "command") do verbs[i] = c:match("^%a+") end
  t.equal(table.concat(verbs, " "), "EHLO MAIL RCPT DATA RSET MAIL RCPT DATA")
  t.equal(opened(server), 1)
end)

t.test("a real server's refusals: unknown and greylisted recipients beside good ones", function()
  local server <const> = support.serve("real", {})
  local client <close> = smtp.connect { server = "127.0.0.1", port = server.port, tls = "none" }
  for i = 1, 3 do
    t.raises({ code = "550", stage = "rcpt", enhanced = "5.1.1", retryable = false }, client.send, client, small, { to = "unknown@x.example" })
    t.raises({ code = "451", stage = "rcpt", enhanced = "4.7.1", retryable = true }, client.send, client, small, { to = "later@x.example" })
    client:send(small)
    t.equal(#server.mails(), i)
  end
  t.equal(client:status().opened, 1)
end)

t.test("greetings and answers to EHLO that refuse, are broken or never come", function()
  for _, case in ipairs {
    { { banner = "421 4.3.2 busy" }, "421", "banner", true }, { { banner = "554 5.7.1 go away" }, "554", "banner", false },
    { { banner = "drop" }, "connect", "banner", true }, { { banner = "reset" }, "connect", nil, true },
    { { banner = "silence" }, "timeout", "banner", true }, { { banner = "garbage" }, "timeout", "banner", true },
    { { banner = "flood" }, "connect", "banner", true },
    { { EHLO = "drop" }, "connect", "ehlo", true }, { { EHLO = "silence" }, "timeout", "ehlo", true },
    { { EHLO = "flood" }, "connect", "ehlo", true }, { { EHLO = "421 4.3.2 busy", HELO = "421 busy" }, "421", "ehlo", true },
  } do
    local server <const> = support.serve("faults", case[1])
    t.raises({ kind = "smtp", code = case[2], stage = case[3], retryable = case[4], outcome = "not_sent" }, smtp.connect,
      { server = "127.0.0.1", port = server.port, tls = "none", connect_timeout = case[2] == "timeout" and 1 or 60 })
  end
end)

t.test("no server, no name", function()
  local server <const> = support.serve("faults", {})
  server.process:kill "KILL"
  server.process:wait()
  local e = t.raises({ kind = "smtp", code = "connect", stage = "connect", retryable = true, outcome = "not_sent" }, smtp.connect,
    { server = "127.0.0.1", port = server.port, tls = "none" })
  t.match(e.message, "127%.0%.0%.1:%d+")
  e = t.raises({ code = "connect", stage = "connect" }, smtp.connect, { server = "no-such-host.invalid", port = 25, tls = "none" })
  t.match(e.message, "no%-such%-host.invalid")
  t.raises({ code = "connect", stage = "connect" }, smtp.connect, { server = t.tmpdir() .. "/none", tls = "none" })
end)

t.test("a connection that breaks before the dot: not sent, and the next mail goes over a new one", function()
  for _, case in ipairs {
    { { MAIL = { "drop", "250 ok" } }, "mail" }, { { RCPT = { "drop", "250 ok" } }, "rcpt" },
    { { DATA = { "drop", "354 go" } }, "data" }, { { DATA = { "reset", "354 go" } }, nil },
    { { RCPT = { "421 4.3.2 shutting down", "250 ok" } }, "rcpt" }, { { DATA = { "garbage", "354 go" } }, "data" },
  } do
    local client <const>, server <const> = pair(case[1])
    -- At the first word of a kept connection it is opened anew without a word: nothing can have been sent.
    if case[2] == "mail" then
      t.equal(client:send(small).code, 250)
    else
      t.raises({ kind = "smtp", stage = case[2], retryable = true }, client.send, client, small)
      t.equal(client:send(small).code, 250)
    end
    t.equal(#server.mails(), 1)
    t.equal(opened(server), 2)
  end
end)

t.test("a connection that the relay closed while it was idle is opened anew", function()
  local client <const>, server <const> = pair { DOT = { "250 2.0.0 ok\n421 4.4.2 idle too long, bye", "250 2.0.0 ok" } }
  client:send(small)
  client:send(small)
  t.equal(opened(server), 2)
  t.equal(#server.mails(), 2)
  local gone <const>, other <const> = pair { NOOP = { "drop", "250 ok" } }
  gone:check()
  t.equal(opened(other), 2)
end)

t.test("a drop in the middle of the body: not sent", function()
  local client <const>, server <const> = pair { drop_body = 100000 }
  local dots = 0
  t.raises({ kind = "smtp", code = "connect", stage = "body", outcome = "not_sent", retryable = true }, client.send, client, large,
    { on_dot = function() dots = dots + 1 end })
  t.equal(dots, 0)
  t.raises({ code = "connect", stage = "body", outcome = "not_sent" }, client.send, client, large)
  t.equal(#server.mails(), 0)
end)

t.test("a relay that answers in the middle of the body: its answer counts, the dot is not sent", function()
  local client <const>, server <const> = pair { talk_body = "552 5.3.4 far too big" }
  t.raises({ code = "552", stage = "body", outcome = "rejected", retryable = false }, client.send, client, small,
    { on_dot = function() server.wait("have") end })
  server.wait("why", "the client closed")
  t.equal(#server.mails(), 0)
end)

t.test("a relay that takes no more bytes: timeout, not sent", function()
  local client <const>, server <const> = pair({ stall = true }, { timeout = 1 })
  t.raises({ code = "timeout", stage = "body", outcome = "not_sent", retryable = true }, client.send, client, large)
  t.equal(#server.mails(), 0)
end)

t.test("a drop, a reset, silence or nonsense after the dot: unknown, and nothing is sent again", function()
  for _, action in ipairs { "drop", "reset", "silence", "garbage", "flood", "354 what?" } do
    local client <const>, server <const> = pair({ DOT = { action, "250 ok" } }, { dot_timeout = action == "silence" and 1 or 60 })
    local e <const> = t.raises({ kind = "smtp", code = "unknown", stage = "dot", outcome = "unknown", retryable = false },
      client.send, client, small)
    t.match(e.hint, "Message%-ID")
    t.equal(#server.mails(), 1, action)
    t.equal(client:send(small).code, 250)
    t.equal(#server.mails(), 2)
    t.equal(opened(server), 2)
  end
end)

t.test("a slow answer is waited for, and everything else goes on meanwhile", function()
  local go <const> = t.tmpdir() .. "/go"
  local client <const>, server <const> = pair { DOT = { ["until"] = go, say = "250 2.0.0 Ok: queued as SLOW" } }
  local sent
  local sending <const> = task.spawn(function() sent = client:send(small) end)
  server.wait "wire"
  for _ = 1, 20 do task.sleep(0.005) end
  t.equal(sent, nil)
  fs.write(go, "")
  sending:join()
  t.equal(sent.queue_id, "SLOW")
  t.equal(#server.mails(), 1)
end)

t.test("on_dot runs when the relay has the body but not the dot, and may wait", function()
  local client <const>, server <const> = pair {}
  local size
  client:send(small, { on_dot = function()
    size = server.wait("have", #small.bytes)
    task.sleep(0.05)
    t.equal(#server.mails(), 0)
  end })
  t.equal(size, #small.bytes)
  t.equal(server.mails()[1] == small.bytes, true)
end)

t.test("an error in on_dot aborts the mail: the relay never gets the dot, and the error comes through", function()
  local client <const>, server <const> = pair {}
  local mine <const> = errors.new { kind = "pg", code = "57P01", message = "the database is gone" }
  local e <const> = t.raises({ kind = "pg" }, client.send, client, small, { on_dot = function() error(mine) end })
  t.equal(e == mine, true)
  server.wait("why", "the client closed")
  t.equal(#server.mails(), 0)
  t.raises({ kind = "smtp" }, client.send, client, small, { on_dot = function() error(errors.new { kind = "smtp", message = "x" }) end })
  client:send(small)
  t.equal(#server.mails(), 1)
  t.equal(opened(server), 3)
end)

t.test("progress is told, and an error in it aborts the mail", function()
  local client <const>, server <const> = pair {}
  local last, calls = 0, 0
  client:send(middle, { progress = function(sent, total)
    t.ok(sent > last and sent <= total)
    last, calls = sent, calls + 1
  end })
  t.ok(calls > 10 and last >= #middle.bytes)
  t.equal(server.mails()[1] == middle.bytes, true)
  t.raises("enough", client.send, client, middle, { progress = function(sent) if sent > 500000 then error("enough") end end })
  server.wait("why", "the client closed")
  t.equal(#server.mails(), 1)
end)

t.test("the connection breaks while on_dot waits: not sent, whatever on_dot did", function()
  local client <const>, server <const> = pair { drop_body = 10 }
  t.raises({ code = "connect", stage = "body", outcome = "not_sent", retryable = true }, client.send, client, small,
    { on_dot = function() server.wait("why", "closed by the script") end })
  t.equal(#server.mails(), 0)
end)

t.test("a cancelled task takes its connection with it and gives its place back, at every stage", function()
  for _, verb in ipairs { "MAIL", "RCPT", "DATA", "DOT" } do
    local client <const>, server <const> = pair { EHLO = "250 x", [verb] = { "silence", verb == "DATA" and "354 go" or "250 ok" } }
    local sending <const> = task.spawn(client.send, client, small)
    if verb == "DOT" then
      server.wait "wire"
    else
      server.wait("command", verb == "MAIL" and "MAIL FROM:<a@x.example>" or verb == "RCPT" and "RCPT TO:<b@x.example>" or "DATA")
    end
    sending:cancel()
    t.equal((pcall(sending.join, sending)), false)
    server.wait("why", "the client closed")
    t.equal(client:status().idle, 0)
    t.equal(client:send(small).code, 250)
    t.equal(opened(server), 2)
  end
  local client <const>, server <const> = pair {}
  local dots, sending = 0, nil
  sending = task.spawn(client.send, client, small, { on_dot = function()
    dots = dots + 1
    sending:cancel()
    task.sleep(60)
  end })
  t.equal((pcall(sending.join, sending)), false)
  server.wait("why", "the client closed")
  t.equal({ dots, #server.mails() }, { 1, 0 })
  for _, fault in ipairs { { banner = "silence" }, { EHLO = "silence" } } do
    local silent <const> = support.serve("faults", fault)
    t.raises({ kind = "timeout" }, task.timeout, 0.1, smtp.connect, { server = "127.0.0.1", port = silent.port, tls = "none" })
    silent.wait("event", "close")
  end
  local stalled <const>, other <const> = pair { stall = true }
  t.raises({ kind = "timeout" }, task.timeout, 0.2, stalled.send, stalled, large)
  t.equal(#other.mails(), 0)
end)

t.test("whoever waits for a free connection is cancelled or told when the client is closed", function()
  local client <const>, server <const> = pair { DOT = "silence" }
  local busy <const> = task.spawn(function() return pcall(client.send, client, small) end)
  server.wait "wire"
  t.raises({ kind = "timeout" }, task.timeout, 0.05, client.send, client, small)
  local waiting <const> = task.spawn(function() return select(2, pcall(client.send, client, small)) end)
  task.sleep(0)
  client:close()
  t.equal(waiting:join().code, "closed")
  busy:cancel()
  t.equal((busy:join()), false)
end)

t.test("a mail while the relay dies and comes back: the client connects again", function()
  local client <const>, server <const>, o <const> = pair {}
  client:send(small)
  server.process:kill "KILL"
  server.process:wait()
  t.raises({ code = "connect", outcome = "not_sent", retryable = true }, client.send, client, small)
  t.raises({ code = "connect", outcome = "not_sent", retryable = true }, client.check, client)
  t.equal(o.port, server.port)
  t.equal(client:status().idle, 0)
end)

t.test("a client that is simply dropped leaves nothing open", function()
  local server <const> = support.serve("faults", {})
  do
    local client = smtp.connect { server = "127.0.0.1", port = server.port, tls = "none" }
    client:send(small)
    client = nil
    t.equal(client, nil)
  end
  collectgarbage()
  collectgarbage()
  server.wait("event", "close")
end)

t.test("no descriptor is left behind by clients that were used, refused, broken or cancelled", function()
  local good <const> = support.serve("faults", {})
  local bad <const> = support.serve("faults", { banner = { "421 no", "drop", "220 hi" }, EHLO = { "550 no", "drop", "250 x" },
    HELO = "550 no", DOT = "drop" })
  local function round()
    local client <close> = smtp.connect { server = "127.0.0.1", port = good.port, tls = "none", connections = 2 }
    client:send(small)
    pcall(client.send, client, small, { on_dot = function() error "no" end })
    local ok <const>, other = pcall(smtp.connect, { server = "127.0.0.1", port = bad.port, tls = "none" })
    if ok then
      pcall(other.send, other, small)
      other:close()
    end
  end
  for _ = 1, 6 do round() end
  collectgarbage()
  task.sleep(0.01)
  local before <const> = #fs.list "/proc/self/fd"
  for _ = 1, 30 do round() end
  collectgarbage()
  task.sleep(0.01)
  t.equal(#fs.list "/proc/self/fd", before)
end)
