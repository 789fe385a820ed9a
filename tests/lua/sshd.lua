-- A real OpenSSH server for the running test: sshd -D as the current user, on a free port of 127.0.0.1, with keys and
-- configuration in the test's directory. What it starts ends with the test, by pid.

local fs <const> = require "garun.fs"
local proc <const> = require "garun.proc"
local sftp <const> = require "garun.sftp"
local t <const> = require "garun.test"
local task <const> = require "garun.task"

local sshd <const> = {}

local function run(cmd)
  local r <const> = t.run(cmd)
  if r.status ~= 0 then error(table.concat(cmd, " ") .. ": " .. r.stderr, 2) end
  return r.stdout
end

-- Makes a key pair; gives the path of the private half.
function sshd.key(path, kind, passphrase)
  run { "ssh-keygen", "-q", "-t", kind or "ed25519", "-N", passphrase or "", "-C", "test", "-f", path }
  return path
end

function sshd.fingerprint(path)
  return (run { "ssh-keygen", "-lf", path .. ".pub" }):match("SHA256:%S+")
end

function sshd.port()
  return tonumber((run { "/usr/bin/python3", "-c",
    "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])" }))
end

-- Waits until fn() gives something; a test never ends by a count of tries on a slow machine, but it ends.
function sshd.until_true(fn, what)
  for _ = 1, 3000 do
    local value <const> = fn()
    if value then return value end
    task.sleep(0.02)
  end
  error("it never happened: " .. what, 2)
end

-- All descendants of a process, children first.
function sshd.descendants(pid, list)
  list = list or {}
  local file <close> = io.open(string.format("/proc/%d/task/%d/children", pid, pid))
  for child in (file and file:read("a") or ""):gmatch("%d+") do
    sshd.descendants(tonumber(child), list)
    list[#list + 1] = tonumber(child)
  end
  return list
end

local function signal(pid, name)
  t.run { "kill", "-" .. name, tostring(pid) }
end

-- opts: host_keys = list of kinds, config = more lines, subsystem = of sftp, shadow = password that the user gets (root only)
function sshd.start(opts)
  opts = opts or {}
  local dir <const> = t.tmpdir()
  local self <const> = { dir = dir, user = proc.user(proc.uid()).name, host_keys = {} }
  local config <const> = { "ListenAddress 127.0.0.1", "PidFile none", "AuthorizedKeysFile " .. dir .. "/authorized_keys",
    "StrictModes no", "UsePAM no", "PermitRootLogin yes", "LogLevel VERBOSE", "MaxStartups 1000", "UseDNS no",
    "Subsystem sftp " .. (opts.subsystem or "internal-sftp") }
  for _, kind in ipairs(opts.host_keys or { "ed25519" }) do
    self.host_keys[kind] = sshd.key(dir .. "/host_" .. kind, kind)
    config[#config + 1] = "HostKey " .. self.host_keys[kind]
  end
  for _, line in ipairs(opts.config or {}) do table.insert(config, 1, line) end
  self.key = sshd.key(dir .. "/user_key")
  fs.write(dir .. "/authorized_keys", fs.read(self.key .. ".pub"))
  self.files = dir .. "/files"
  fs.mkdir(self.files)
  self.host_key = sshd.fingerprint(self.host_keys[(opts.host_keys or { "ed25519" })[1]])
  if proc.uid() == 0 and not fs.exists("/run/sshd") then fs.mkdir("/run/sshd") end     -- sshd demands it of root
  self.log = dir .. "/log"

  for _ = 1, 5 do      -- between the look for a free port and sshd's bind somebody else may take it
    self.port = sshd.port()
    fs.write(dir .. "/config", "Port " .. self.port .. "\n" .. table.concat(config, "\n") .. "\n")
    fs.write(self.log, "")
    local cmd <const> = { "/usr/sbin/sshd", "-D", "-e", "-f", dir .. "/config", stderr = self.log, stdout = self.log }
    if opts.shadow then
      local hash <const> = run { "openssl", "passwd", "-6", opts.shadow }:gsub("%s+$", "")
      fs.write(dir .. "/shadow", string.format("%s:%s:19000:0:99999:7:::\n", self.user, hash), { mode = "0600" })
      table.move(cmd, 1, 5, 5)
      cmd[1], cmd[2], cmd[3] = "unshare", "-m", "sh"
      table.insert(cmd, 4, "-c")
      cmd[5] = 'mount --bind "$0" /etc/shadow && exec "$@"'
      table.insert(cmd, 6, dir .. "/shadow")
      table.move({ "/usr/sbin/sshd", "-D", "-e", "-f", dir .. "/config" }, 1, 5, 7, cmd)
    end
    local p <const> = proc.spawn(cmd)
    local up <const> = sshd.until_true(function()
      local text <const> = fs.read(self.log)
      if text:find("Server listening on 127.0.0.1", 1, true) then return "up" end
      return p:wait(0) and "gone"
    end, "sshd listens")
    if up == "up" then
      self.process = p
      break
    end
  end
  if not self.process then error("sshd does not start: " .. fs.read(self.log)) end
  t.after(function()
    self.signal_sessions("CONT")
    self.signal_sessions("KILL")
    self.process:kill "KILL"
    self.process:wait()
  end)

  -- Options that connect here; more override.
  function self.at(more)
    local o <const> = { host = "127.0.0.1", port = self.port, username = self.user, private_key_file = self.key,
      host_key = self.host_key, connect_timeout = 60 }
    for k, v in pairs(more or {}) do o[k] = v or nil end
    return o
  end
  function self.connect(more) return sftp.connect(self.at(more)) end
  function self.signal_sessions(name)
    for _, pid in ipairs(sshd.descendants(self.process.pid)) do signal(pid, name) end
  end
  function self.file(name, data)
    fs.write(self.files .. "/" .. name, data)
    return self.files .. "/" .. name
  end
  return self
end

-- A server for one connection that does what the Python text says with the socket `c`; gives its port.
function sshd.fake(python)
  local p <const> = proc.spawn { "/usr/bin/python3", "-u", "-c", "import socket, sys, time\ns = socket.socket()\n"
    .. "s.bind(('127.0.0.1', 0)); s.listen(5); print(s.getsockname()[1])\nwhile True:\n  c, _ = s.accept()\n  "
    .. python:gsub("\n", "\n  "), stdout = "pipe" }
  t.after(function() p:kill "KILL" p:wait() end)
  return tonumber(p:lines()())
end

return sshd
