-- sftp_bench: get and put of one large file, and of many small ones, beside OpenSSH's sftp against the same sshd on
-- loopback, interleaved rounds, medians.
--
--   garun tests/bench/sftp_bench.lua [--mib 1024] [--rounds 5] [--files 500] [--dir /dev/shm] [--cipher aes128-ctr]
--
-- Both connect anew each round, and that counts. Neither waits for the disk (sftp never does). --cipher is for sftp;
-- without it, it takes its default.

local dir_of_tests <const> = (arg[0]:match("^(.*)/[^/]*$") or ".") .. "/../lua/"
package.path = dir_of_tests .. "?.lua;" .. package.path

local fs <const> = require "garun.fs"
local proc <const> = require "garun.proc"
local sshd <const> = require "sshd"
local t <const> = require "garun.test"
local time <const> = require "garun.time"

local function number(name, default)
  for i = 1, #arg - 1 do
    if arg[i] == "--" .. name then return tonumber(arg[i + 1]) or arg[i + 1] end
  end
  return default
end

local MIB <const>, ROUNDS <const>, FILES <const> = number("mib", 1024), number("rounds", 5), number("files", 500)
local DIR <const>, CIPHER <const> = number("dir", "/dev/shm"), number("cipher", nil)

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local function seconds(fn)
  local start <const> = time.monotonic()
  fn()
  return time.monotonic() - start
end

t.test("bench", function()
  local srv <const> = sshd.start()
  local work <close> = fs.tempdir { dir = DIR }
  local here <const>, there <const> = work.path .. "/here", work.path .. "/there"
  fs.mkdir(here)
  fs.mkdir(there)
  fs.mkdir(there .. "/small")
  proc.run { "sh", "-c", 'head -c "$1" /dev/urandom > "$2"', "sh", tostring(MIB << 20), there .. "/large" }
  for i = 1, FILES do fs.write(string.format("%s/small/f%05d", there, i), ("x"):rep(20000), { sync = false }) end
  fs.write(srv.dir .. "/known", string.format("[127.0.0.1]:%d %s", srv.port, fs.read(srv.host_keys.ed25519 .. ".pub")))

  local function openssh(batch)
    local cmd <const> = { "sftp", "-q", "-P", tostring(srv.port), "-i", srv.key, "-o", "UserKnownHostsFile=" .. srv.dir
      .. "/known", "-o", "IdentityAgent=none", "-b", "-", "-F", "/dev/null", stdin = batch .. "\n" }
    if CIPHER then table.move({ "-c", CIPHER }, 1, 2, #cmd + 1, cmd) end
    cmd[#cmd + 1] = srv.user .. "@127.0.0.1"
    local r <const> = proc.run(cmd)
    if r.status ~= 0 then error("sftp: " .. r.stderr) end
  end
  local function ours(fn)
    local s <close> = srv.connect()
    fn(s)
  end

  local cases <const> = {
    { "get of one file", MIB * 1.048576,
      function() ours(function(s) s:get(there .. "/large", here .. "/a", { sync = false }) end) end,
      function() openssh(string.format("get %s/large %s/b", there, here)) end },
    { "put of one file", MIB * 1.048576,
      function() ours(function(s) s:put(there .. "/large", there .. "/a", { sync = false }) end) end,
      function() openssh(string.format("put %s/large %s/b", there, there)) end },
    { "get of small files", FILES * 0.02,
      function() ours(function(s) s:get_all(there .. "/small", here, { sync = false, concurrency = 16 }) end) end,
      function() openssh(string.format("get %s/small/* %s/", there, here)) end },
  }
  print(string.format("%-20s %12s %12s %8s", "", "garun MB/s", "sftp MB/s", "ratio"))
  for _, case in ipairs(cases) do
    local a <const>, b <const> = {}, {}
    for round = 1, ROUNDS do
      a[round] = case[2] / seconds(case[3])
      b[round] = case[2] / seconds(case[4])
    end
    local x <const>, y <const> = median(a), median(b)
    print(string.format("%-20s %12.1f %12.1f %8.2f", case[1], x, y, x / y))
  end
end)
