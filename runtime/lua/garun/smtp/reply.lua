-- garun.smtp.reply: the relay's replies, and the errors that are made of them or of their absence.

local clock <const> = require "garun.core.time"
local errors <const> = require "garun.error"
local log <const> = require "garun.log"
local printable <const> = require "garun.printable"

local M <const> = {}

local LINES <const> = 100         -- of a reply

local STAGES <const> = {       -- for messages
  connect = "connecting", banner = "the greeting", ehlo = "EHLO", starttls = "STARTTLS", tls = "the TLS handshake",
  auth = "the login (AUTH)", mail = "MAIL FROM", rcpt = "RCPT TO", data = "DATA", body = "the mail's body",
  dot = "the final dot", noop = "NOOP", rset = "RSET",
}

---- failing ----

-- A relay's text: strangers write it, and it may repeat what it was told.
function M.shown(text)
  if #text > 500 then text = text:sub(1, 500) .. "..." end
  return log.redact(printable(text))
end

-- f: code, stage, outcome, retryable, why, reply, hint
function M.failure(client, f)
  local reply <const> = f.reply
  local e <const> = errors.new {
    kind = "smtp", code = f.code, retryable = f.retryable or false, hint = f.hint,
    message = string.format("%s: %s: %s", client.name, STAGES[f.stage], f.why or
      string.format("refused with %d %s", reply.code, M.shown(reply.text))),
    detail = f.detail,
  }
  e.stage, e.outcome = f.stage, f.outcome
  if reply then e.reply, e.enhanced = M.shown(reply.text), reply.enhanced end
  return e
end

-- The relay has answered with 4xx or 5xx, or with something that is no answer to what was asked.
function M.refused(client, reply, stage, outcome, hint)
  return M.failure(client, {
    code = tostring(reply.code), stage = stage, outcome = outcome, reply = reply, hint = hint,
    retryable = reply.code >= 400 and reply.code < 500,
  })
end

-- No answer: why is "timeout", "closed" or "syntax".
function M.lost(client, why, text, stage)
  return M.failure(client, {
    code = why == "timeout" and "timeout" or "connect", stage = stage, retryable = true, outcome = "not_sent",
    why = M.shown(text) .. "; the mail was not sent",
  })
end

function M.unknown(client, text)
  return M.failure(client, {
    code = "unknown", stage = "dot", outcome = "unknown", why = M.shown(text),
    detail = "the whole mail was sent but no answer to it came: the relay may have it or not",
    hint = "look for its Message-ID in the relay's log before sending it again",
  })
end

---- replies ----

function M.parse(lines)
  local text <const> = {}
  for i, line in ipairs(lines) do text[i] = line:sub(5) end
  local reply <const> = { code = tonumber(lines[#lines]:sub(1, 3)), text = table.concat(text, " ") }
  reply.enhanced = text[1]:match("^([245]%.%d%d?%d?%.%d%d?%d?)%f[%D]")
  return reply
end

-- The next reply; nil, why and a text when none came.
function M.read(session, seconds)
  local deadline <const> = clock.monotonic() + seconds
  local lines <const> = {}
  repeat
    local line <const>, why <const>, text <const> = session.conn:line(math.max(deadline - clock.monotonic(), 0))
    if not line then return nil, why, text end
    if not line:find("^[2-5]%d%d") or not line:find("^...[ -]") and #line > 3 or #lines == LINES then
      return nil, "syntax", "what came is no reply: " .. line:sub(1, 100)
    end
    lines[#lines + 1] = line
  until line:sub(4, 4) ~= "-"
  return M.parse(lines)
end

-- Under which name the relay has the mail, as far as its answer is one of the known ones.
function M.queue_id(text)
  return text:match("[Qq]ueued as (%w[%w.-]*)")                  -- Postfix and those who imitate it
    or text:match("id=(%w[%w-]*)")                               -- Exim
    or text:match("^[%d.]+ (%w+) Message accepted")              -- Sendmail
    or text:match("[Oo][Kk]%s+%d+ (%S+) %- gsmtp")               -- Google
    or text:match("<([^<>]+)> %[InternalId=")                    -- Exchange
    or text:match("[Oo][Kk] %d+ qp (%d+)")                       -- qmail
    or text:match("^[Oo]k (%x[%x-]+)$")                          -- Amazon
end

return M
