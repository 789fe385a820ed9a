-- garun.smtp.login: from settings to a session: connected, encrypted, logged in; or the reason why not.
--
-- garun.core.smtp has libcurl do it and gives the transcript, which tells the stage that failed and the relay's words:
-- libcurl's result alone does not tell a refused greeting from a broken one, or a missing STARTTLS from a refused one.

local clock <const> = require "garun.core.time"
local reply <const> = require "garun.smtp.reply"

local M <const> = {}

-- Results of libcurl, by what they mean.
local CURL <const> = {
  timeout = 28, use_ssl = 64, login = 67, write = 23, receive = { [52] = true, [56] = true },
  tls = { [35] = true, [51] = true, [53] = true, [54] = true, [58] = true, [59] = true, [60] = true, [66] = true, [77] = true,
    [80] = true, [82] = true, [83] = true, [90] = true, [91] = true },
}

-- What was said until now: the stage it ended in, the last reply of that stage, the extensions, whether AUTH succeeded.
local function read_transcript(said)
  local t <const> = { stage = "connect", extensions = {}, lines = {} }
  for who, text in said:gmatch("(%u):([^\n]*)\n") do
    if who == "C" then
      t.stage, t.lines, t.reply = text == "HELO" and "ehlo" or text:lower(), {}, nil
      if t.stage == "ehlo" then t.extensions = {} end
    elseif text:find("^%d%d%d") then
      if t.stage == "connect" then t.stage = "banner" end
      t.lines[#t.lines + 1] = text
      local name <const>, value <const> = text:match("^250[ -](%w[%w-]*)[ =]?(.*)$")
      if t.stage == "ehlo" and name and #t.lines > 1 then t.extensions[name:upper()] = value end
      if t.stage == "auth" and text:find("^235") then t.authenticated = true end
      if text:find("^...%-") == nil then
        t.reply = reply.parse(t.lines)
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
    return string.format("the certificate must be valid for '%s' and signed by a CA of this machine, or of the file in "
      .. "option ca", client.options.server)
  end
end

local function connect_failure(client, r)
  local t <const> = read_transcript(r.said)
  local stage, last <const> = t.stage, t.reply
  if stage == "connect" and r.connected then
    stage = client.options.tls == "implicit" and not r.secured and "tls" or "banner"
  end
  local text <const> = reply.shown(r.text or "")
  local f <const> = { stage = stage, outcome = "not_sent", why = text, code = "connect", retryable = true }
  if CURL.tls[r.result] then
    f.code, f.stage = "tls", "tls"
    f.retryable = r.result == 35 and not text:find("wrong version", 1, true)
    f.hint = tls_hint(client, text, r.unverified)
  elseif last and last.code >= 400 then
    local hint <const> = stage == "auth" and last.code >= 500 and "check username and password" or nil
    return reply.refused(client, last, stage, "not_sent", hint)
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
      reply.shown(t.extensions.AUTH or "none"))
    f.hint = "option auth chooses another mechanism"
  elseif CURL.receive[r.result] and (text == "" or text:find("reading failed", 1, true)) then
    f.why = "the relay closed the connection"
  elseif r.result == CURL.write then
    f.why = "the relay's greeting or reply has no end"
  elseif r.errno and not text:find(r.errno, 1, true) then
    f.why = text .. ": " .. r.errno
  end
  return reply.failure(client, f)
end

-- A session of the client: { conn, extensions, used, last, dirty, dead }.
function M.open(client)
  local o <const> = client.options
  local conn <const>, r <const> = client.dial()
  if r.result ~= 0 then error(connect_failure(client, r), 0) end
  local t <const> = read_transcript(r.said)
  if o.username and not t.authenticated then      -- libcurl goes on without a login where no AUTH is offered
    conn:close "QUIT\r\n"
    error(reply.failure(client, { code = "auth", stage = "auth", outcome = "not_sent",
      why = "the relay offers no login (AUTH) but a username is given",
      hint = "is this the port for submission (587 or 465)?" }), 0)
  end
  client.opened = client.opened + 1
  return { conn = conn, extensions = t.extensions, used = 0, last = clock.monotonic(), dirty = false }
end

return M
