-- http_bench: garun.http against the curl program, both reading from one nginx on the loopback; interleaved rounds, medians.
--
--   garun tests/bench/http_bench.lua [OPTIONS]
--     --requests N       small GETs a round, default 10000        --concurrency N   at a time, default 64
--     --size BYTES       of a small body, default 1000            --bytes N         of the download, default 2147483648
--     --rounds N         default 5                                --tls             by HTTPS (HTTP/2 for the GETs)
--     --only gets|download                                        --dir DIR         for the files, default TMPDIR or /tmp
--
-- GETs: `curl --parallel --parallel-max N` with a config file of all the URLs, to /dev/null. Download: `curl -o`, against
-- http.download without the fsync that curl does not make either; and both with the file on the disk at the end. Each
-- run is a process of its own, its start included. Ratio: garun's rate over curl's.

local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local http <const> = require "garun.http"
local proc <const> = require "garun.proc"
local task <const> = require "garun.task"
local time <const> = require "garun.time"

local function path_of_this() return debug.getinfo(1, "S").source:sub(2) end

-- ---- what a child does ----

if arg[1] == "--child-gets" then
  local url <const>, n <const>, concurrency <const>, ca <const> = arg[2], tonumber(arg[3]), tonumber(arg[4]), arg[5]
  local size <const> = tonumber(arg[6])
  local client <const> = http.client { ca = ca ~= "" and ca or nil, max_connections = concurrency }
  local left = n
  task.scope(function()
    for _ = 1, concurrency do
      task.spawn(function()
        while left > 0 do
          left = left - 1
          local r <const> = client:get(url)
          if r.status ~= 200 or #r.body ~= size then error "a wrong answer" end
        end
      end)
    end
  end)
  return
end
if arg[1] == "--child-download" then
  http.download(arg[2], arg[3], { sync = arg[4] == "sync", ca = arg[5] ~= "" and arg[5] or nil })
  return
end

-- ---- the bench ----

package.path = fs.dirname(path_of_this()) .. "/../lua/?.lua;" .. package.path
local nginx <const> = require "nginx"

local o <const> = { requests = 10000, concurrency = 64, size = 1000, bytes = 2 << 30, rounds = 5, dir = os.getenv "TMPDIR" or "/tmp" }
do
  local i = 1
  while arg[i] do
    local name <const> = arg[i]:match("^%-%-(%l+)$")
    if name == "tls" then
      o.tls = true
    else
      i = i + 1
      local value <const> = arg[i]
      if not name or not value then error("usage: see the head of " .. path_of_this()) end
      if type(o[name]) == "number" then o[name] = math.tointeger(tonumber(value)) else o[name] = value end
    end
    i = i + 1
  end
end

local dir <close> = fs.tempdir { dir = o.dir }
local certs = {}
if o.tls then
  certs = { cert = dir.path .. "/c.crt", key = dir.path .. "/c.key" }
  proc.run { "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", certs.key, "-out", certs.cert }
end
local server <const>, why <const> = nginx.start(dir.path, certs)
if not server then error(why) end
local base <const>, ca <const> = o.tls and server.http2 or server.url, certs.cert or ""

local function timed(cmd)
  local from <const> = time.monotonic()
  local r <const> = proc.run(cmd)
  local seconds <const> = time.monotonic() - from
  if r.status ~= 0 then error(cmd[1] .. " failed: " .. r.stderr:sub(1, 500)) end
  return seconds
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

-- Runs the two in turns, which goes first changes.
local function compare(title, unit, amount, garun, curl)
  local times <const> = { garun = {}, curl = {} }
  for i = 1, o.rounds do
    for _, who in ipairs(i % 2 == 1 and { "garun", "curl" } or { "curl", "garun" }) do
      table.insert(times[who], timed((who == "garun" and garun or curl)()))
    end
  end
  local g <const>, c <const> = median(times.garun), median(times.curl)
  print(string.format("%-34s garun %8.3f s %10.0f %s   curl %8.3f s %10.0f %s   ratio %.2f", title, g, amount / g, unit, c,
    amount / c, unit, c / g))
end

if o.only ~= "download" then
  fs.write(server.root .. "/small", ("x"):rep(o.size))
  local url <const>, config <const> = base .. "/small", dir.path .. "/curl.config"
  local lines <const> = { "silent", "show-error", ca ~= "" and 'cacert = "' .. ca .. '"' or nil }
  for _ = 1, o.requests do lines[#lines + 1] = 'url = "' .. url .. '"\noutput = "/dev/null"' end
  fs.write(config, table.concat(lines, "\n") .. "\n")
  compare(string.format("%d GETs of %d bytes, %d at a time", o.requests, o.size, o.concurrency), "/s", o.requests, function()
    return { host.exe(), path_of_this(), "--child-gets", url, tostring(o.requests), tostring(o.concurrency), ca, tostring(o.size) }
  end, function()
    return { "curl", "--parallel", "--parallel-max", tostring(o.concurrency), "--config", config }
  end)
end

if o.only ~= "gets" then
  -- A file of holes: nginx sends it from memory, and the disk is the receiver's alone.
  proc.run { "truncate", "-s", tostring(o.bytes), server.root .. "/large" }
  local url <const>, out <const> = base .. "/large", dir.path .. "/out"
  local mib <const> = o.bytes / (1 << 20)
  local tls <const> = ca ~= "" and " --http1.1 --cacert " .. ca or ""
  for _, sync in ipairs { "plain", "sync" } do
    compare(string.format("download of %.0f MiB%s", mib, sync == "sync" and ", on the disk" or ""), "MiB/s", mib, function()
      fs.remove(out, { missing_ok = true })
      return { host.exe(), path_of_this(), "--child-download", url, out, sync, ca }
    end, function()
      fs.remove(out, { missing_ok = true })
      return { "sh", "-c", "curl -sS" .. tls .. " -o '" .. out .. "' '" .. url .. "'" .. (sync == "sync" and " && sync '" .. out .. "'" or "") }
    end)
  end
end
server.close()
