-- garun.smtp: mails to a relay over kept connections; one recipient a transaction, so that each has the relay's answer.
--
-- garun.core.smtp connects and moves bytes; the dialogue is here. What a failure means for the mail is said by the
-- error's outcome, and is decided by one fact: before the final dot was handed to the socket the relay has no mail
-- ("not_sent"), an answer to it is the truth ("rejected", or success), and between the two nobody knows ("unknown";
-- RFC 1047). Nothing is ever sent twice here: only a connection that broke before any answer is opened anew.

local address <const> = require "garun.mail.address"
local clock <const> = require "garun.core.time"
local core <const> = require "garun.core.smtp"
local errors <const> = require "garun.error"
local log <const> = require "garun.log"
local mime <const> = require "garun.core.mime"
local printable <const> = require "garun.printable"
local proc <const> = require "garun.proc"
local task <const> = require "garun.task"

local smtp <const> = {}

local OPTIONS <const> = { "server", "port", "tls", "username", "password", "token", "auth", "ca", "cert", "key", "key_password",
  "pin", "hello", "connections", "connect_timeout", "timeout", "dot_timeout", "max_idle" }

local PORTS <const> = { starttls = 587, implicit = 465, none = 25 }
local MECHANISMS <const> = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "NTLM", "XOAUTH2", "OAUTHBEARER" }

local CONNECT_TIMEOUT <const> = 60       -- RFC 5321 gives a banner five minutes; nobody waits that long for a login
local TIMEOUT <const> = 300              -- 4.5.3.2: MAIL, RCPT and blocks of data three to five minutes
local DOT_TIMEOUT <const> = 600          -- 4.5.3.2.6: giving up earlier makes duplicates
local MAX_IDLE <const> = 240             -- relays hang up after five minutes
local REPLY_LINES <const> = 100

-- Results of libcurl, by what they mean.
local CURL <const> = {
  timeout = 28, use_ssl = 64, login = 67, write = 23, receive = { [52] = true, [56] = true },
  tls = { [35] = true, [51] = true, [53] = true, [54] = true, [58] = true, [59] = true, [60] = true, [66] = true, [77] = true,
    [80] = true, [82] = true, [83] = true, [90] = true, [91] = true },
}

local STAGES <const> = {       -- for messages
  connect = "connecting", banner = "the greeting", ehlo = "EHLO", starttls = "STARTTLS", tls = "the TLS handshake",
  auth = "the login (AUTH)", mail = "MAIL FROM", rcpt = "RCPT TO", data = "DATA", body = "the mail's body",
  dot = "the final dot", noop = "NOOP", rset = "RSET",
}

---- failing ----

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "option", message = string.format(fmt, ...) }, 0)
end

-- A relay's text: strangers write it, and it may repeat what it was told.
local function shown(text)
  if #text > 500 then text = text:sub(1, 500) .. "..." end
  return log.redact(printable(text))
end

-- f: code, stage, outcome, retryable, why, reply, hint
local function failure(client, f)
  local reply <const> = f.reply
  local e <const> = errors.new {
    kind = "smtp", code = f.code, retryable = f.retryable or false, hint = f.hint,
    message = string.format("%s: %s: %s", client.name, STAGES[f.stage], f.why or
      string.format("refused with %d %s", reply.code, shown(reply.text))),
    detail = f.why and reply and string.format("the relay's last reply was: %d %s", reply.code, shown(reply.text)) or f.detail,
  }
  e.stage, e.outcome = f.stage, f.outcome
  if reply then e.reply, e.enhanced = shown(reply.text), reply.enhanced end
  return e
end

-- The relay has answered with 4xx or 5xx, or with something that is no answer to what was asked.
local function refused(client, reply, stage, outcome, hint)
  return failure(client, {
    code = tostring(reply.code), stage = stage, outcome = outcome, reply = reply, hint = hint,
    retryable = reply.code >= 400 and reply.code < 500,
  })
end

-- No answer: why is "timeout", "closed" or "syntax".
local function lost(client, why, text, stage)
  return failure(client, {
    code = why == "timeout" and "timeout" or "connect", stage = stage, retryable = true, outcome = "not_sent",
    why = shown(text) .. "; the mail was not sent",
  })
end

local function unknown(client, text)
  return failure(client, {
    code = "unknown", stage = "dot", outcome = "unknown", why = shown(text),
    detail = "the whole mail was sent but no answer to it came: the relay may have it or not",
    hint = "look for its Message-ID in the relay's log before sending it again",
  })
end

---- replies ----

local function reply_of(lines)
  local text <const> = {}
  for i, line in ipairs(lines) do text[i] = line:sub(5) end
  local reply <const> = { code = tonumber(lines[#lines]:sub(1, 3)), text = table.concat(text, " ") }
  reply.enhanced = text[1]:match("^([245]%.%d%d?%d?%.%d%d?%d?)%f[%D]")
  return reply
end

-- The next reply; nil, why and a text when none came.
local function read_reply(session, seconds)
  local deadline <const> = clock.monotonic() + seconds
  local lines <const> = {}
  repeat
    local line <const>, why <const>, text <const> = session.conn:line(math.max(deadline - clock.monotonic(), 0))
    if not line then return nil, why, text end
    if not line:find("^[2-5]%d%d") or not line:find("^...[ -]") and #line > 3 or #lines == REPLY_LINES then
      return nil, "syntax", "what came is no reply: " .. line:sub(1, 100)
    end
    lines[#lines + 1] = line
  until line:sub(4, 4) ~= "-"
  return reply_of(lines)
end

-- Under which name the relay has the mail, as far as its answer is one of the known ones.
local function queue_id(text)
  return text:match("[Qq]ueued as (%w[%w.-]*)")                  -- Postfix and those who imitate it
    or text:match("id=(%w[%w-]*)")                               -- Exim
    or text:match("^[%d.]+ (%w+) Message accepted")              -- Sendmail
    or text:match("[Oo][Kk]%s+%d+ (%S+) %- gsmtp")               -- Google
    or text:match("<([^<>]+)> %[InternalId=")                    -- Exchange
    or text:match("[Oo][Kk] %d+ qp (%d+)")                       -- qmail
    or text:match("^[Oo]k (%x[%x-]+)$")                          -- Amazon
end

---- connecting ----

-- What was said until now: the stage it ended in, the last reply of that stage, the extensions, whether AUTH succeeded.
local function read_transcript(said)
  local t <const> = { stage = "connect", extensions = {}, lines = {} }
  for who, text in said:gmatch("(%u):([^\n]*)\n") do
    if who == "C" then
      t.stage, t.lines = text == "HELO" and "ehlo" or text:lower(), {}
      if t.stage == "ehlo" then t.extensions = {} end
    elseif text:find("^%d%d%d") then
      if t.stage == "connect" then t.stage = "banner" end
      t.lines[#t.lines + 1] = text
      local name <const>, value <const> = text:match("^250[ -](%w[%w-]*)[ =]?(.*)$")
      if t.stage == "ehlo" and name and #t.lines > 1 then t.extensions[name:upper()] = value end
      if t.stage == "auth" and text:find("^235") then t.authenticated = true end
      if text:find("^...%-") == nil then
        t.reply = reply_of(t.lines)
        t.lines = {}
      end
    end
  end
  return t
end

local function tls_hint(client, text, unverified)
  if text:find("wrong version number", 1, true) then
    return 'the server does not speak TLS on this port from the start; try tls = "starttls"'
  end
  if unverified or text:find("certificate", 1, true) then
    return string.format("the certificate must be valid for '%s' and signed by a CA of this machine, or of the file in option ca",
      client.options.server)
  end
end

local function connect_failure(client, r)
  local t <const> = read_transcript(r.said)
  local stage, reply <const> = t.stage, t.reply
  if stage == "connect" and r.connected then
    stage = client.options.tls == "implicit" and not r.secured and "tls" or "banner"
  end
  local text <const> = shown(r.text or "")
  local f <const> = { stage = stage, outcome = "not_sent", why = text, reply = nil, code = "connect", retryable = true }
  if CURL.tls[r.result] then
    f.code, f.stage = "tls", "tls"
    f.retryable = r.result == 35 and not text:find("wrong version", 1, true)
    f.hint = tls_hint(client, text, r.unverified)
  elseif reply and reply.code >= 400 then
    return refused(client, reply, stage, "not_sent", stage == "auth" and reply.code >= 500 and "check username and password" or nil)
  elseif r.result == CURL.use_ssl then
    f.code, f.stage, f.retryable = "no_starttls", "starttls", false
    f.why = "the relay does not offer STARTTLS; nothing is sent in clear text"
    f.hint = 'for a port that speaks TLS from the start use tls = "implicit" (port 465)'
  elseif r.result == CURL.timeout then
    f.code = "timeout"
    f.why = string.format("no answer within connect_timeout = %g s", client.options.connect_timeout)
  elseif r.result == CURL.login then
    f.code, f.stage, f.retryable = "auth", "auth", false
    f.why = string.format("the relay offers none of the wanted mechanisms (%s), it has: %s", client.mechanisms,
      shown(t.extensions.AUTH or "none"))
    f.hint = "option auth chooses another mechanism"
  elseif CURL.receive[r.result] and (text == "" or text:find("reading failed", 1, true)) then
    f.why = "the relay closed the connection"
  elseif r.result == CURL.write then
    f.why = "the relay's greeting or reply has no end"
  elseif r.errno and not text:find(r.errno, 1, true) then
    f.why = text .. ": " .. r.errno
  end
  return failure(client, f)
end

local function open_session(client)
  local o <const> = client.options
  local conn <const>, r <const> = client.dial()
  if r.result ~= 0 then error(connect_failure(client, r), 0) end
  local t <const> = read_transcript(r.said)
  if o.username and not t.authenticated then      -- libcurl goes on without a login where no AUTH is offered
    conn:close "QUIT\r\n"
    error(failure(client, { code = "auth", stage = "auth", outcome = "not_sent",
      why = "the relay offers no login (AUTH) but a username is given",
      hint = "is this the port for submission (587 or 465)?" }), 0)
  end
  client.opened = client.opened + 1
  return { conn = conn, extensions = t.extensions, used = 0, last = clock.monotonic(), dirty = false }
end

---- commands ----

-- Says the commands { { stage, text, wanted code }, ... } and reads the answers; with PIPELINING (RFC 2920) all at once.
-- Gives the first failure as an error; the session is dead when `dead`.
local function say(client, session, commands)
  local seconds <const> = client.options.timeout
  local together <const> = session.extensions.PIPELINING ~= nil
  local failed
  local function write(text, stage)
    local ok <const>, why <const>, what <const> = session.conn:write(text, seconds)
    if not ok and not (why == "closed" and session.conn:pending() == "data") then
      session.dead = true
      return lost(client, why, what, stage)
    end
  end
  if together then
    local all <const> = {}
    for i, c in ipairs(commands) do all[i] = c[2] end
    failed = write(table.concat(all), commands[1][1])
    if failed then return failed end
  end
  for _, c in ipairs(commands) do
    if not together then
      if failed then break end
      failed = write(c[2], c[1])
      if failed then return failed end
    end
    local reply <const>, why <const>, what <const> = read_reply(session, seconds)
    if not reply then
      session.dead = true
      return failed or lost(client, why, what, c[1])
    end
    if reply.code == 421 then session.dead = true end
    if reply.code // 100 ~= c[3] // 100 then
      failed = failed or refused(client, reply, c[1], "rejected")
      if reply.code == 421 then break end
    elseif c[1] == "data" and failed then
      session.dead = true        -- it waits for the mail of a recipient that it refused: a dot would be an empty mail
    end
  end
  if failed then session.dirty = true end
  return failed
end

local function mail_parameters(client, session, m)
  local ext <const> = session.extensions
  local text = ""
  local function permanent(code, why, hint)
    error(failure(client, { code = code, stage = "mail", outcome = "not_sent", why = why, hint = hint }), 0)
  end
  if ext.SIZE then
    local limit <const> = tonumber(ext.SIZE) or 0
    if limit > 0 and #m.wire > limit then
      permanent("too_big", string.format("the mail has %d bytes, the relay takes at most %d", #m.wire, limit))
    end
    text = " SIZE=" .. #m.wire
  end
  if m.smtputf8 then
    if not ext.SMTPUTF8 then
      permanent("smtputf8", "an address or header of the mail is not ASCII, and the relay does not offer SMTPUTF8",
        "use an address that is ASCII before the @")
    end
    return text .. (ext["8BITMIME"] and " BODY=8BITMIME" or "") .. " SMTPUTF8"
  end
  if m.eight_bit then
    if not ext["8BITMIME"] then
      permanent("8bit", "the mail has bytes beyond ASCII, and the relay does not offer 8BITMIME",
        "mail.compose makes mails that need neither")
    end
    text = text .. " BODY=8BITMIME"
  end
  return text
end

-- The relay must be silent now. When it is not, it has given the mail up, and no dot may follow.
local function still_there(client, session)
  local pending <const> = session.conn:pending()
  if not pending then return end
  session.dead = true
  if pending == "data" then
    local reply <const> = read_reply(session, 5)
    if reply and reply.code >= 400 then error(refused(client, reply, "body", "rejected"), 0) end
  end
  error(lost(client, "closed", pending == "data" and "the relay answered before the mail's end"
    or "the relay closed the connection before the mail's end", "body"), 0)
end

-- One mail over the session; gives the relay's answer or raises.
local function transact(client, session, m)
  local o <const> = client.options
  local commands <const> = {
    { "mail", "MAIL FROM:<" .. m.from .. ">" .. mail_parameters(client, session, m) .. "\r\n", 250 },
    { "rcpt", "RCPT TO:<" .. m.to .. ">\r\n", 250 },
    { "data", "DATA\r\n", 354 },
  }
  if session.dirty then table.insert(commands, 1, { "rset", "RSET\r\n", 250 }) end
  session.dirty = true
  local failed <const> = say(client, session, commands)
  if failed then error(failed, 0) end
  local wrote <const>, why <const>, what <const> = session.conn:write(m.wire, o.timeout)
  if not wrote then
    session.dead = true
    if why == "closed" then still_there(client, session) end
    error(lost(client, why, what, "body"), 0)
  end
  if m.on_dot then
    session.dead = true       -- until it has returned: after an error the connection must go, or the relay waits on
    m.on_dot()
    session.dead = false
  end
  still_there(client, session)
  session.dead = true
  local sent <const>, _ <const>, broken <const> = session.conn:write(".\r\n", o.timeout)
  if not sent then error(unknown(client, broken), 0) end
  local reply <const>, _ <const>, silent <const> = read_reply(session, o.dot_timeout)
  if not reply or reply.code < 200 or reply.code >= 300 and reply.code < 400 then
    error(unknown(client, reply and "an answer that makes no sense: " .. reply.code .. " " .. reply.text or silent), 0)
  end
  session.dead, session.dirty = reply.code == 421, false
  if reply.code >= 400 then error(refused(client, reply, "dot", "rejected"), 0) end
  return { code = reply.code, enhanced = reply.enhanced, reply = printable(reply.text), queue_id = queue_id(reply.text) }
end

---- kept connections ----

-- A place in the pool, given back when the block ends.
local slot <const> = {}

function slot:__close()
  local client <const>, session <const> = self.client, self.session
  if session and (session.dead or client.closed or not self.ended) then
    session.conn:close(not session.dead and self.ended and "QUIT\r\n" or nil)
  elseif session then
    session.last = clock.monotonic()
    table.insert(client.idle, session)
  end
  if not client.closed then client.slots:send(self.number) end       -- there is room: this never waits
end

local function take(client)
  local number <const> = not client.closed and client.slots:recv()
  if not number then
    error(errors.new { kind = "smtp", code = "closed", message = "smtp: the client is closed" }, 0)
  end
  return setmetatable({ client = client, number = number, ended = false }, slot)
end

-- An idle session that the relay has not hung up, nil when there is none.
local function kept(client)
  while true do
    local session <const> = table.remove(client.idle)
    if not session then return nil end
    if clock.monotonic() - session.last < client.options.max_idle and not session.conn:pending() then return session end
    session.conn:close "QUIT\r\n"
  end
end

-- Whether the relay has given the connection up before this use of it began.
local function gone(e)
  return errors.is(e, "smtp") and (e.stage == "rset"
    or (e.stage == "mail" or e.stage == "noop") and (e.code == "connect" or e.code == "421"))
end

-- Runs fn(client, session, ...). A kept connection that turns out to be gone at the first word is replaced once.
local function with_session(client, fn, ...)
  local place <close> = take(client)
  place.session = kept(client) or open_session(client)
  local again <const> = place.session.used > 0
  local ok, result = pcall(fn, client, place.session, ...)
  if again and not ok and gone(result) then
    place.session.conn:close()
    place.session = nil
    place.session = open_session(client)
    ok, result = pcall(fn, client, place.session, ...)
  end
  place.session.used = place.session.used + 1
  -- After an answer of the relay, whatever it was, the connection stays; after anything else (a cancelled wait) it goes.
  place.ended = ok or errors.is(result, "smtp")
  if not ok then error(result, 0) end
  return result
end

---- the client ----

local methods <const> = {}
local client_meta <const> = { __index = methods, __name = "garun.smtp.client", __metatable = false }

local function envelope(field, value)
  if field == "from" and value == "" then return "" end      -- bounces: RFC 5321, 4.5.5
  if type(value) ~= "string" then misuse("smtp:send: %s must be an address, got %s", field, type(value)) end
  return address.bare(field, value)
end

function methods:send(message, opts)
  opts = errors.check_options("smtp:send", opts, { "from", "to", "on_dot" })
  local bytes, from, to = message, opts.from, opts.to
  local utf8_headers = false
  if type(message) == "table" then
    bytes, utf8_headers = message.bytes, message.smtputf8
    from = from or message.from
    if to == nil and message.recipients then
      if #message.recipients ~= 1 then
        misuse("smtp:send: the message has %d recipients; call it once for each, with to = one of them", #message.recipients)
      end
      to = message.recipients[1]
    end
  end
  if type(bytes) ~= "string" then misuse("smtp:send: a message of mail.compose or a string is needed, got %s", type(message)) end
  if opts.on_dot ~= nil and type(opts.on_dot) ~= "function" then
    misuse("smtp:send: on_dot must be a function, got %s", type(opts.on_dot))
  end
  local m <const> = { from = envelope("from", from), to = envelope("to", to), on_dot = opts.on_dot }
  local wire <const>, eight_bit <const>, at <const> = mime.wire(bytes)
  if not wire then
    error(errors.new { kind = "smtp", code = "message", message = string.format(
      "smtp:send: the message has %s at byte %d; lines end with CRLF and have at most 998 bytes", eight_bit, at),
      hint = "mail.compose makes such messages" }, 0)
  end
  m.wire, m.eight_bit = wire, eight_bit
  m.smtputf8 = utf8_headers or (m.from .. m.to):find("[\x80-\xFF]") ~= nil
  return with_session(self, transact, m)
end

function methods:check()
  return with_session(self, function(client, session)
    local failed <const> = say(client, session, { { "noop", "NOOP\r\n", 250 } })
    if failed then
      failed.outcome = "not_sent"
      error(failed, 0)
    end
    local names <const> = {}
    for name in pairs(session.extensions) do names[#names + 1] = name end
    table.sort(names)
    return { extensions = names, max_size = tonumber(session.extensions.SIZE) }
  end)
end

function methods:status()
  return { idle = #self.idle, connections = self.options.connections, opened = self.opened, closed = self.closed }
end

function methods:close()
  if self.closed then return end
  self.closed = true
  self.slots:close()
  for _, session in ipairs(self.idle) do session.conn:close "QUIT\r\n" end
  self.idle = {}
end

client_meta.__close = methods.close

function client_meta:__tostring()
  return string.format("smtp client of %s%s", self.name, self.closed and " (closed)" or "")
end

---- options ----

local function text_option(o, name)
  local value <const> = o[name]
  if value == nil then return nil end
  if type(value) ~= "string" or value == "" or value:find("%c") then
    misuse("smtp.connect: option '%s' must be a text without control characters", name)
  end
  return value
end

local function number_option(o, name, default, min, max, integer)
  local value <const> = o[name] == nil and default or o[name]
  if type(value) ~= "number" or not (value >= min and value <= max) or integer and math.type(value) ~= "integer" then
    misuse("smtp.connect: option '%s' must be %s from %g to %g", name, integer and "an integer" or "a number", min, max)
  end
  return value
end

local function is_loopback(name)
  return name == "localhost" or name == "::1" or name:find("^127%.%d+%.%d+%.%d+$") ~= nil
end

-- The options, checked and complete.
local function options_of(given)
  local o <const> = {}
  for k, v in pairs(errors.check_options("smtp.connect", given, OPTIONS)) do o[k] = v end
  for _, name in ipairs { "server", "username", "password", "token", "ca", "cert", "key", "key_password", "pin", "hello" } do
    o[name] = text_option(o, name)
  end
  if not o.server then misuse("smtp.connect: option 'server' is missing: a host name, an address or the path of a socket") end
  o.socket = o.server:find("^/") and o.server or nil
  if not o.socket and not o.server:find("^[%w._-]+$") and not o.server:find("^[%x:]+[%x.]*$") then
    misuse("smtp.connect: '%s' is no host name or address; the port is an option of its own", printable(o.server))
  end
  o.tls = o.tls == nil and "starttls" or o.tls
  if not PORTS[o.tls] then misuse('smtp.connect: option \'tls\' must be "starttls", "implicit" or "none"') end
  o.port = number_option(o, "port", PORTS[o.tls], 1, 65535, true)
  o.connections = number_option(o, "connections", 1, 1, 100, true)
  o.connect_timeout = number_option(o, "connect_timeout", CONNECT_TIMEOUT, 0.001, 3600)
  o.timeout = number_option(o, "timeout", TIMEOUT, 0.001, 86400)
  o.dot_timeout = number_option(o, "dot_timeout", DOT_TIMEOUT, 0.001, 86400)
  o.max_idle = number_option(o, "max_idle", MAX_IDLE, 0, 86400)
  if (o.password or o.token) and not o.username then misuse("smtp.connect: a password or token needs a username") end
  if o.username and not o.password and not o.token then misuse("smtp.connect: username '%s' needs a password or a token",
    printable(o.username)) end
  if o.password and o.token then misuse("smtp.connect: give a password or a token, not both") end
  if o.tls == "none" and o.username and not o.socket and not is_loopback(o.server) then
    misuse('smtp.connect: a password never goes to %s in clear text; use tls = "starttls" or "implicit"', o.server)
  end
  if o.cert == nil and (o.key or o.key_password) then misuse("smtp.connect: key and key_password belong to option 'cert'") end
  local hello <const> = o.hello or proc.hostname()
  if not hello:find("^%[?[%w.:_-]+%]?$") then misuse("smtp.connect: hello must be a host name, got '%s'", printable(hello)) end
  o.hello = hello
  return o
end

-- AUTH only by what was chosen. libcurl left alone would prefer Kerberos whenever a relay offers it, and stop there.
local function mechanisms_of(o)
  local list = o.auth == nil and (o.token and { "XOAUTH2", "OAUTHBEARER" } or { "PLAIN", "LOGIN" }) or o.auth
  if type(list) == "string" then list = { list } end
  if type(list) ~= "table" or #list == 0 then misuse("smtp.connect: option 'auth' is a mechanism or a list of them") end
  local names <const> = {}
  for i, name in ipairs(list) do
    for _, known in ipairs(MECHANISMS) do
      if type(name) == "string" and name:upper() == known then names[i] = known end
    end
    if not names[i] then misuse("smtp.connect: auth: mechanisms are %s", table.concat(MECHANISMS, ", ")) end
  end
  return names
end

function smtp.connect(given)
  local o <const> = options_of(given)
  local mechanisms <const> = mechanisms_of(o)
  for _, name in ipairs { "password", "token", "key_password" } do
    if o[name] and #o[name] >= 4 then log.secret(o[name]) end
  end
  local host <const> = o.socket and "localhost" or o.server:find(":", 1, true) and "[" .. o.server .. "]" or o.server
  local settings <const> = {
    url = string.format("%s://%s:%d/%s", o.tls == "implicit" and "smtps" or "smtp", host, o.port,
      (o.hello:gsub("[^%w.-]", function(c) return string.format("%%%02X", c:byte()) end))),
    socket = o.socket, username = o.username, password = o.password, token = o.token,
    login = "AUTH=" .. table.concat(mechanisms, ";AUTH="),
    ca = o.ca, cert = o.cert, key = o.key, key_password = o.key_password, pin = o.pin,
  }
  local client <const> = setmetatable({
    options = o, mechanisms = table.concat(mechanisms, ", "), idle = {}, opened = 0, closed = false,
    name = o.socket and "relay at " .. o.socket or string.format("relay %s:%d", host, o.port),
    slots = task.channel(o.connections),
    dial = function() return core.open(settings, o.connect_timeout, o.tls ~= "none") end,
  }, client_meta)
  o.password, o.token, o.key_password = nil, nil, nil      -- only the closure has them: nobody prints them by accident
  for i = 1, o.connections do client.slots:send(i) end
  with_session(client, function() end)       -- logs in, so that what is wrong with the settings is said here
  return client
end

return smtp
