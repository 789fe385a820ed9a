-- garun tests/bench/smtp_bench.lua [--mails 2000] [--bytes 20000] [--rounds 5] [--connections 4] [--sink PATH]
--
-- Mails to postfix's smtp-sink on loopback: garun.smtp over one connection and over several, beside Python's smtplib on
-- one kept connection. Alternating rounds, medians. The same bytes for all; each mail is a transaction of its own.
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local mail <const> = require "garun.mail"
local proc <const> = require "garun.proc"
local smtp <const> = require "garun.smtp"
local task <const> = require "garun.task"
local time <const> = require "garun.time"

local RIVAL <const> = [[
import smtplib, sys, time
port, mails, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
data = open(path, "rb").read()
client = smtplib.SMTP("127.0.0.1", port)
client.ehlo()
start = time.perf_counter()
for _ in range(mails):
    client.sendmail("reports@shop.example", ["sales@shop.example"], data)
print(time.perf_counter() - start)
client.quit()
]]

local function options(list)
  local o <const> = { mails = 2000, bytes = 20000, rounds = 5, connections = 4, sink = nil }
  for i = 1, #list, 2 do
    local name <const> = list[i]:match("^%-%-(%w+)$")
    local known <const> = name and (o[name] ~= nil or name == "sink")
    if not known or list[i + 1] == nil then
      error(errors.new { kind = "usage", message = "smtp_bench: unknown argument " .. list[i] }, 0)
    end
    o[name] = name == "sink" and list[i + 1] or math.tointeger(tonumber(list[i + 1]))
  end
  return o
end

local function find_sink(given)
  for _, path in ipairs { given or "smtp-sink", "/usr/sbin/smtp-sink" } do
    local r <const> = proc.run { "sh", "-c", 'command -v "$0"', path }
    if r.status == 0 then return (r.stdout:gsub("%s+$", "")) end
  end
  error(errors.new { kind = "usage", message = "smtp_bench: smtp-sink is not here",
    hint = "it is part of Debian's postfix package; or pass --sink PATH" }, 0)
end

-- smtp-sink takes no port 0, so free ones are asked for; another process may be faster, hence several tries.
local function free_port()
  local r <const> = proc.run { "/usr/bin/python3", "-c",
    "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])" }
  return math.tointeger(tonumber(r.stdout))
end

local function start_sink(path)
  for _ = 1, 5 do
    local port <const> = free_port()
    local cmd <const> = { path, "127.0.0.1:" .. port, "1000", stderr = "null" }
    if proc.uid() == 0 then table.move({ "-u", "nobody", cmd[2], cmd[3] }, 1, 4, 2, cmd) end      -- it insists
    local sink <const> = proc.spawn(cmd)
    for _ = 1, 100 do
      local ok <const>, client = pcall(smtp.connect, { server = "127.0.0.1", port = port, tls = "none" })
      if ok then
        client:close()
        return sink, port
      end
      if sink:wait(0.02) then break end
    end
    sink:close()
  end
  error(errors.new { kind = "bench", message = "smtp_bench: " .. path .. " does not start" }, 0)
end

local function by_garun(port, message, o, connections)
  local client <close> = smtp.connect { server = "127.0.0.1", port = port, tls = "none", connections = connections }
  local left, start <const> = o.mails, time.monotonic()
  task.scope(function()
    for _ = 1, connections do
      task.spawn(function()
        while left > 0 do
          left = left - 1
          client:send(message)
        end
      end)
    end
  end)
  return time.monotonic() - start
end

local function by_smtplib(port, path, o)
  local r <const> = proc.run { "/usr/bin/python3", "-c", RIVAL, port, o.mails, path }
  if r.status ~= 0 then error(errors.new { kind = "bench", message = "smtplib failed: " .. r.stderr }, 0) end
  return tonumber(r.stdout)
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local o <const> = options({ ... })
local dir <const> = fs.tempdir()
local sink <const>, port <const> = start_sink(find_sink(o.sink))
local line <const> = ("<tr><td>Filiale</td><td>1.234,50</td></tr>"):rep(1) .. "\n"
local message <const> = mail.compose { from = "reports@shop.example", to = "sales@shop.example", subject = "Report",
  text = "see the table", html = line:rep(math.max(1, (o.bytes - 900) // (#line + 1))), message_id = "<bench@shop.example>" }
fs.write(dir.path .. "/mail", message.bytes)
local times <const> = { {}, {}, {} }
for _ = 1, o.rounds do
  table.insert(times[1], by_smtplib(port, dir.path .. "/mail", o))
  table.insert(times[2], by_garun(port, message, o, 1))
  table.insert(times[3], by_garun(port, message, o, o.connections))
end
sink:close()
dir:close()
local rival <const> = median(times[1])
print(string.format("%d mails of %d bytes, %s, medians of %d rounds", o.mails, #message.bytes, host.exe():match("[^/]*$"), o.rounds))
for i, name in ipairs { "smtplib, one connection", "garun.smtp, one connection", "garun.smtp, " .. o.connections .. " connections" } do
  local seconds <const> = median(times[i])
  print(string.format("%-28s %7.3f s  %7.0f mails/s  %5.2fx", name, seconds, o.mails / seconds, rival / seconds))
end
