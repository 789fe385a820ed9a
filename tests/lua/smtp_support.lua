-- Mail servers for the tests of garun.smtp, see tests/server/smtp_faults.py.

local config <const> = require "garun.config"
local crypto <const> = require "garun.crypto"
local fs <const> = require "garun.fs"
local json <const> = require "garun.json"
local proc <const> = require "garun.proc"
local t <const> = require "garun.test"
local task <const> = require "garun.task"

local support <const> = {}

-- A certificate for a name, signed by itself: { cert =, key = }.
function support.certificate(name)
  local dir <const> = t.tmpdir()
  local r <const> = t.run { "openssl", "req", "-new", "-x509", "-nodes", "-days", "2", "-subj", "/CN=" .. name, "-addext",
    "subjectAltName=DNS:" .. name, "-newkey", "rsa:2048", "-keyout", dir .. "/key.pem", "-out", dir .. "/cert.pem" }
  if r.status ~= 0 then error("openssl: " .. r.stderr) end
  return { cert = dir .. "/cert.pem", key = dir .. "/key.pem" }
end

-- Starts "real" or "faults" with these settings: { port, log() }.
function support.serve(kind, settings)
  settings.log = t.tmpdir() .. "/log"
  fs.write(settings.log, "")
  local server <const> = proc.spawn { "/usr/bin/python3", config.path "tests/server/smtp_faults.py", kind,
    json.encode(settings), stdout = "pipe" }
  t.after(function() server:close() end)
  local line <const> = server:lines()()
  local self <const> = { port = tonumber((line or ""):match("^PORT (%d+)$")), process = server }
  if not self.port then error("the server did not start: " .. tostring(line)) end

  -- Everything it has logged, or the values of one field.
  function self.log(field)
    local all <const> = {}
    for entry in fs.lines(settings.log) do
      local e = json.decode(entry)
      if field then e = e[field] end
      if e ~= nil then all[#all + 1] = e end
    end
    return all
  end

  -- Waits until an entry has field = value (or any value).
  function self.wait(field, value)
    for _ = 1, 3000 do
      for _, v in ipairs(self.log(field)) do
        if value == nil or v == value then return v end
      end
      task.sleep(0.01)
    end
    error(string.format("the server never logged %s = %s", field, tostring(value)))
  end

  -- The mails as they came: undone are base64 and, of the wire, dots and the final line.
  function self.mails()
    local all <const> = {}
    for i, wire in ipairs(self.log "wire") do
      local bytes <const> = ("\r\n" .. crypto.base64_decode(wire)):gsub("\r\n%.", "\r\n")
      all[i] = bytes:sub(3, -3)
    end
    for i, content in ipairs(self.log "content") do all[i] = crypto.base64_decode(content) end
    return all
  end
  return self
end

return support
