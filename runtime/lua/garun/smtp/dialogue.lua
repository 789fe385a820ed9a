-- garun.smtp.dialogue: what is said over a session: a mail, or NOOP.
--
-- The order of writes and checks is what outcomes rest on: as long as a byte of the final dot's line is with us, the relay
-- cannot have the mail. With on_dot the body goes first and whole, then on_dot runs, then follows a look whether the relay
-- is still silent, then the dot.

local printable <const> = require "garun.printable"
local replies <const> = require "garun.smtp.reply"

local M <const> = {}

local PIECE <const> = 64 << 10        -- of a mail whose progress is watched
local DOT <const> = ".\r\n"

-- Says the commands { { stage, text, wanted code }, ... } and reads the answers; with PIPELINING (RFC 2920) all at once.
-- Gives the first failure as an error. session.dead: it cannot be used any more; session.dirty: a transaction is open.
local function say(client, session, commands)
  local seconds <const> = client.options.timeout
  local together <const> = session.extensions.PIPELINING ~= nil
  local failed
  local function write(text, stage)
    local ok <const>, why <const>, what <const> = session.conn:write(text, seconds)
    if not ok and not (why == "closed" and session.conn:pending() == "data") then
      session.dead = true
      return replies.lost(client, why, what, stage)
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
    local reply <const>, why <const>, what <const> = replies.read(session, seconds)
    if not reply then
      session.dead = true
      return failed or replies.lost(client, why, what, c[1])
    end
    if reply.code == 421 then session.dead = true end
    if reply.code // 100 ~= c[3] // 100 then
      failed = failed or replies.refused(client, reply, c[1], "rejected")
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
    error(replies.failure(client, { code = code, stage = "mail", outcome = "not_sent", why = why, hint = hint }), 0)
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
local function still_silent(client, session)
  local pending <const> = session.conn:pending()
  if not pending then return end
  if pending == "data" then
    local reply <const> = replies.read(session, 5)
    if reply and reply.code >= 400 then error(replies.refused(client, reply, "body", "rejected"), 0) end
  end
  error(replies.lost(client, "closed", pending == "data" and "the relay answered before the mail's end"
    or "the relay closed the connection before the mail's end", "body"), 0)
end

-- Writes a part of the mail. dot: the bytes at its end that are the final dot's line.
local function write(client, session, bytes, dot)
  local ok <const>, why <const>, what <const>, sent <const> = session.conn:write(bytes, client.options.timeout)
  if ok then return end
  if sent > #bytes - dot then error(replies.unknown(client, what), 0) end
  if why == "closed" then still_silent(client, session) end      -- it may have said why
  error(replies.lost(client, why, what, "body"), 0)
end

-- The body, then what the caller has to do before the end, then the end alone. Without anything to do it is one write.
local function write_mail(client, session, m)
  if not m.progress and not m.on_dot then return write(client, session, m.wire .. DOT, #DOT) end
  for at = 1, #m.wire, PIECE do
    write(client, session, m.wire:sub(at, at + PIECE - 1), 0)
    if m.progress then m.progress(math.min(at + PIECE - 1, #m.wire), #m.wire) end
  end
  if m.on_dot then m.on_dot() end
  still_silent(client, session)
  write(client, session, DOT, #DOT)
end

-- One mail over the session; gives the relay's answer or raises. m: from, to, wire, eight_bit, smtputf8, on_dot, progress
function M.transact(client, session, m)
  local commands <const> = {
    { "mail", "MAIL FROM:<" .. m.from .. ">" .. mail_parameters(client, session, m) .. "\r\n", 250 },
    { "rcpt", "RCPT TO:<" .. m.to .. ">\r\n", 250 },
    { "data", "DATA\r\n", 354 },
  }
  if session.dirty then table.insert(commands, 1, { "rset", "RSET\r\n", 250 }) end
  local failed <const> = say(client, session, commands)
  if failed then error(failed, 0) end
  -- From here on the relay waits for a mail's end, and only its answer to that makes the connection good for another.
  session.dead = true
  write_mail(client, session, m)
  local reply <const>, _ <const>, silent <const> = replies.read(session, client.options.dot_timeout)
  if not reply or reply.code >= 300 and reply.code < 400 then
    error(replies.unknown(client, reply and "an answer that makes no sense: " .. reply.code .. " " .. reply.text or silent), 0)
  end
  session.dead, session.dirty = reply.code == 421, false
  if reply.code >= 400 then error(replies.refused(client, reply, "dot", "rejected"), 0) end
  return {
    code = reply.code, enhanced = reply.enhanced, reply = printable(reply.text), queue_id = replies.queue_id(reply.text),
  }
end

-- Asks for a sign of life.
function M.check(client, session)
  local failed <const> = say(client, session, { { "noop", "NOOP\r\n", 250 } })
  if not failed then return end
  failed.outcome = "not_sent"
  error(failed, 0)
end

return M
