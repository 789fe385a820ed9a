-- garun.http against servers that fail: each fault has its code, nothing short is taken for whole, nothing hangs.
local t <const> = require "garun.test"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local http <const> = require "garun.http"
local proc <const> = require "garun.proc"
local support <const> = require "http_support"
local task <const> = require "garun.task"
local time <const> = require "garun.time"

local function fails(want, url, opts)
  opts = opts or {}
  if opts.retry == nil then opts.retry = false end
  want.kind = want.kind or "http"
  return t.raises(want, http.get, url, opts)
end

t.test("a body that is cut is an error, whatever framed it", function()
  local s <const> = support.server()
  for _, how in ipairs { "length", "chunked", "chunk", "reset" } do
    local e <const> = fails({ code = "cut", retryable = true }, s.url .. "/cut?how=" .. how)
    t.match(e.message .. (e.detail or ""), "400", how)
  end
  fails({ code = "cut" }, s.url .. "/cut?cut=0")
  t.equal(http.get(s.url .. "/chunked?size=100000&piece=777").body, support.pattern(100000))
end)

t.test("a compressed body has to be whole: its trailer, its members, nothing behind them", function()
  local s <const> = support.server()
  local whole <const> = support.pattern(100000)
  for _, how in ipairs { "plain", "members", "deflate", "raw", "twice" } do
    t.equal(http.get(s.url .. "/gzip?how=" .. how).body == whole, true, how)
    local r <close> = http.get(s.url .. "/gzip?how=" .. how, { stream = true })
    t.equal(r:text() == whole, true, how .. ", as a stream")
  end
  t.equal(http.get(s.url .. "/gzip?coding=X-GZip").body == whole, true)
  t.equal(http.get(s.url .. "/gzip?how=empty").body, "")
  for how, code in pairs { cut = "cut", crc = "encoding", trailing = "encoding", none = "encoding", br = "encoding" } do
    fails({ code = code, retryable = code == "cut" }, s.url .. "/gzip?how=" .. how)
    t.raises({ kind = "http", code = code }, function()
      local r <close> = http.get(s.url .. "/gzip?how=" .. how, { stream = true, retry = false })
      return r:text()
    end)
  end
  t.equal(http.get(s.url .. "/gzip", { decompress = false }).body:sub(1, 2), "\x1f\x8b")
  t.equal(http.get(s.url .. "/gzip?how=br", { decompress = false }).status, 200)
  fails({ code = "protocol" }, s.url .. "/head?how=te")
end)

t.test("a body that ends with its connection is taken only on request", function()
  local s <const> = support.server()
  for _, protocol in ipairs { "HTTP/1.0", "HTTP/1.1" } do
    local url <const> = s.url .. "/unframed?protocol=" .. protocol
    local e <const> = fails({ code = "unframed", retryable = false }, url)
    t.match(e.hint, "allow_unframed")
    t.raises({ code = "unframed" }, http.get, url, { stream = true })
    t.equal(http.get(url, { allow_unframed = true }).body, "what there is")
    local r <close> = http.get(url, { allow_unframed = true, stream = true })
    t.equal(r:text(), "what there is")
  end
  t.equal(http.get(s.url .. "/unframed?status=404").status, 404, "an error page may be short")
  t.equal(http.get(s.url .. "/text?status=204").status, 204)
end)

t.test("bodies beyond max_body are refused: announced, streamed, decompressed", function()
  local s <const> = support.server()
  local limit <const> = { max_body = 10000, retry = false }
  t.equal(#http.get(s.url .. "/bytes?size=10000", limit).body, 10000)
  fails({ code = "too_large", retryable = false }, s.url .. "/bytes?size=10001", limit)
  t.equal(#http.get(s.url .. "/chunked?size=10000", limit).body, 10000)
  fails({ code = "too_large" }, s.url .. "/chunked?size=10001", limit)
  fails({ code = "too_large" }, s.url .. "/endless?key=e", limit)
  t.equal(#http.get(s.url .. "/gzip?how=bomb&size=10000", limit).body, 10000)
  fails({ code = "too_large" }, s.url .. "/gzip?how=bomb&size=10001", limit)
  fails({ code = "too_large" }, s.url .. "/gzip?how=bomb&size=50000000", limit)
  fails({ code = "too_large" }, s.url .. "/bytes?size=70000000")
  local r <close> = http.get(s.url .. "/gzip?how=bomb&size=10001", { max_body = 10000, stream = true })
  t.raises({ code = "too_large" }, r.text, r)
  local unbounded <close> = http.get(s.url .. "/bytes?size=70000000", { stream = true })
  local n = 0
  for chunk in unbounded:chunks() do n = n + #chunk end
  t.equal(n, 70000000)
end)

t.test("a server that falls silent is given up after stall_timeout, one that drips is not", function()
  local s <const> = support.server()
  local e = fails({ code = "stall", retryable = true }, s.url .. "/stall?after=-1", { stall_timeout = 0.1 })
  t.ok(not e.message:find("middle"))
  e = fails({ code = "stall" }, s.url .. "/stall?after=100", { stall_timeout = 0.1 })
  t.match(e.message .. e.detail, "middle.*100 bytes")
  t.equal(#http.get(s.url .. "/drip?n=20&ms=20", { stall_timeout = 5 }).body, 20)
  local r <close> = http.get(s.url .. "/stall?after=100", { stall_timeout = 0.1, stream = true })
  t.equal(#r:read(), 100)
  t.raises({ code = "stall" }, r.read, r)
  -- It reads no body.
  t.raises({ code = "stall" }, http.put, s.url .. "/stall?how=body&key=b", { body = ("x"):rep(20 << 20), stall_timeout = 0.2,
    retry = false })
end)

t.test("timeout is for all of it: redirects, retries and waiting included", function()
  local s <const> = support.server()
  local e = fails({ code = "timeout", retryable = true }, s.url .. "/stall?after=-1", { timeout = 0.1 })
  t.match(e.message, "0.1 s")
  fails({ code = "timeout" }, s.url .. "/drip?n=1000&ms=20", { timeout = 0.2 })
  fails({ code = "timeout" }, s.url .. "/redirect?to=/stall?after=-1", { timeout = 0.2 })
  local from <const> = time.monotonic()
  local r <const> = http.get(s.url .. "/flaky?key=t&fail=100", { timeout = 0.5, retry = { attempts = 100, base = 3600, max = 3600 } })
  t.equal(r.status, 503, "no time for another attempt: the last answer is the result")
  t.ok(time.monotonic() - from < 60)
  local slow <close> = http.get(s.url .. "/drip?n=1000&ms=20", { timeout = 0.2, stream = true })
  e = t.raises({ code = "timeout" }, function() while slow:read() do end end)
  t.match(e.message, "on its way")
end)

t.test("nobody listens, nobody is found, nobody answers", function()
  local e = fails({ code = "connect", retryable = true }, "http://127.0.0.1:" .. support.free_port() .. "/")
  t.match(e.message, "refused")
  fails({ code = "dns", retryable = true }, "http://" .. ("a"):rep(64) .. ".example/")      -- no name: no resolver is asked
  local s <const> = support.server()
  e = fails({ code = "cut", retryable = true }, s.url .. "/dropped?key=a&fail=9")
  t.match(e.message, "without an answer")
  fails({ code = "cut" }, s.url .. "/dropped?key=b&fail=9&reset")
end)

t.test("what is no HTTP is told from what is", function()
  local s <const> = support.server()
  for _, how in ipairs { "huge", "nul", "garbage", "http09", "twice" } do
    local e <const> = fails({ retryable = false }, s.url .. "/head?how=" .. how)
    t.equal(e.code, "protocol", how)
    t.ok(not tostring(e):find("[\27\0]"), "nothing that a terminal obeys")
  end
  t.equal(http.get(s.url .. "/head?how=interim").body, "ok")
end)

t.test("a kept connection that dies as it is taken up again is replaced", function()
  local s <const> = support.server()
  local c <close> = http.client()
  t.equal(c:get(s.url .. "/kept?key=g").body, "kept")
  t.equal(c:get(s.url .. "/kept?key=g", { retry = false }).body, "kept", "a GET is sent again on a new connection")
  t.equal(s.count("g"), 3)
end)

t.test("a POST is not sent twice behind the caller's back", function()
  local s <const> = support.server()
  local c <close> = http.client()
  t.equal(c:get(s.url .. "/kept?key=x").body, "kept")
  local e <const> = t.raises({ kind = "http", code = "cut", retryable = true }, c.post, c, s.url .. "/kept?key=y", { body = "order" })
  t.match(e.message, "may have acted")
  t.equal(s.count("y"), 1)
  t.equal(c:get(s.url .. "/kept?key=x").body, "kept")
  t.equal(c:post(s.url .. "/kept?key=z", { body = "order", idempotent = true }).body, "kept")
  t.equal(s.count("z"), 2, "the caller has allowed it")
end)

t.test("cancellation ends a request wherever it is, and leaves the client usable", function()
  local s <const> = support.server()
  local c <close> = http.client { max_connections = 2 }
  local function cancelled(fn)
    local one <close> = task.spawn(fn)
    while s.count("c") == 0 do task.sleep(0.002) end
    one:cancel()
    local ok <const>, e <const> = pcall(one.join, one)
    t.equal({ ok, errors.is(e, "cancelled") }, { false, true })
  end
  for _ = 1, 3 do
    cancelled(function() c:get(s.url .. "/stall?after=-1&key=c") end)
    cancelled(function() c:get(s.url .. "/stall?after=10&key=c") end)
    cancelled(function()
      local r <close> = c:get(s.url .. "/stall?after=10&key=c", { stream = true })
      r:text()
    end)
    cancelled(function() c:get(s.url .. "/flaky?key=c&fail=1000", { retry = { base = 3600, max = 3600 } }) end)
    t.raises({ kind = "timeout" }, task.timeout, 0.05, c.get, c, s.url .. "/stall?after=-1&key=c")
  end
  t.equal(c:get(s.url .. "/text?body=fine").body, "fine")
end)

t.test("a response is read by one task at a time, and closing it wakes the reader", function()
  local s <const> = support.server()
  local r <const> = http.get(s.url .. "/stall?after=10", { stream = true })
  t.equal(#r:read(), 10)
  local reader <close> = task.spawn(function() return pcall(r.read, r) end)
  task.sleep(0)
  t.raises({ kind = "http", code = "busy" }, r.read, r)
  r:close()
  local ok <const>, e <const> = reader:join()
  t.equal({ ok, e.code }, { false, "closed" })
  t.raises({ code = "closed" }, r.read, r)
  r:close()
end)

t.test("a server that is killed in the middle is an error at once", function()
  local s <const> = support.server()
  local r <close> = http.get(s.url .. "/endless?key=e", { stream = true })
  t.ok(r:read())
  s.process:kill("KILL")
  s.process:wait()
  t.raises({ kind = "http", code = "cut" }, function() while r:read() do end end)
  fails({ code = "connect" }, s.url .. "/echo")
end)

t.test("a name server that does not answer holds up nobody else", function()
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/slow.c", [[
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
    if (name && strcmp(name, "slow.test") == 0) {
        sleep(20);
        return EAI_AGAIN;
    }
    return real(name, service, hints, list);
}
]])
  if proc.run({ "gcc", "-shared", "-fPIC", "-o", dir .. "/slow.so", dir .. "/slow.c" }).status ~= 0 then t.skip "no compiler here" end
  fs.write(dir .. "/x.lua", [[
local http, time, task = require "garun.http", require "garun.time", require "garun.task"
local from = time.monotonic()
local ok, e = pcall(http.get, "http://slow.test/", { timeout = 0.1 })
print(ok, e.code)
ok, e = pcall(task.timeout, 0.1, http.get, "http://slow.test/")
print(ok, e.kind)
ok, e = pcall(http.get, "http://slow.test/", { connect_timeout = 0.1, retry = false })
print(ok, e.code)
print(time.monotonic() - from < 10)
os.exit(0, false)
]])
  local r <const> = proc.run { host.exe(), dir .. "/x.lua", env = { LD_PRELOAD = dir .. "/slow.so" }, timeout = 60 }
  if r.stderr:find("ASan runtime") then t.skip "the sanitizer has to be loaded first" end
  t.equal(r.stdout, "false\ttimeout\nfalse\ttimeout\nfalse\tconnect\ntrue\n", r.stderr)
end)
