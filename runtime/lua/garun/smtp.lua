-- garun.smtp: mails to a relay over kept connections; one recipient a transaction, so that each has the relay's answer.
--
-- Here are the client and its connections; garun.core.smtp connects and moves bytes, smtp/login.lua logs in, and
-- smtp/dialogue.lua says what there is to say. What a failure means for the mail is its outcome, which rests on one fact:
-- before the final dot was handed to the socket the relay has no mail ("not_sent"), an answer to it is the truth
-- ("rejected", or success), and between the two nobody knows ("unknown"; RFC 1047). Nothing is ever sent twice here: only
-- a connection that broke before any answer is opened anew.

local address <const> = require "garun.mail.address"
local clock <const> = require "garun.core.time"
local core <const> = require "garun.core.smtp"
local dialogue <const> = require "garun.smtp.dialogue"
local errors <const> = require "garun.error"
local log <const> = require "garun.log"
local login <const> = require "garun.smtp.login"
local mime <const> = require "garun.core.mime"
local settings_of <const> = require "garun.smtp.settings"
local task <const> = require "garun.task"

local smtp <const> = {}

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "option", message = string.format(fmt, ...) }, 0)
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
  place.session = kept(client) or login.open(client)
  local again <const> = place.session.used > 0
  local ok, result = pcall(fn, client, place.session, ...)
  if again and not ok and gone(result) then
    place.session.conn:close()
    place.session = nil
    place.session = login.open(client)
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
  opts = errors.check_options("smtp:send", opts, { "from", "to", "on_dot", "progress" })
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
  if type(bytes) ~= "string" then
    misuse("smtp:send: a message of mail.compose or a string is needed, got %s", type(message))
  end
  for _, name in ipairs { "on_dot", "progress" } do
    if opts[name] ~= nil and type(opts[name]) ~= "function" then
      misuse("smtp:send: %s must be a function, got %s", name, type(opts[name]))
    end
  end
  local m <const> = { from = envelope("from", from), to = envelope("to", to), on_dot = opts.on_dot, progress = opts.progress }
  local wire <const>, eight_bit <const>, at <const> = mime.wire(bytes)
  if not wire then
    error(errors.new { kind = "smtp", code = "message", message = string.format(
      "smtp:send: the message has %s at byte %d; lines end with CRLF and have at most 998 bytes", eight_bit, at),
      hint = "mail.compose makes such messages" }, 0)
  end
  m.wire, m.eight_bit = wire, eight_bit
  m.smtputf8 = utf8_headers or (m.from .. m.to):find("[\x80-\xFF]") ~= nil
  return with_session(self, dialogue.transact, m)
end

function methods:check()
  return with_session(self, function(client, session)
    dialogue.check(client, session)
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

function smtp.connect(given)
  local o <const> = settings_of.options(given)
  local mechanisms <const> = settings_of.mechanisms(o)
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
