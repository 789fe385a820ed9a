-- garun.http.download: whole files only, continued where they were cut, never mixed from two versions.
local t <const> = require "garun.test"
local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local http <const> = require "garun.http"
local proc <const> = require "garun.proc"
local support <const> = require "http_support"
local task <const> = require "garun.task"

local SIZE <const> = 5000000
local whole <const> = support.pattern(SIZE)
local never <const> = { retry = false }

local function names(dir)
  return table.concat(fs.list(dir), " ")
end

t.test("a body becomes a file, with what is known of it", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  local done <const> = {}
  local r <const> = http.download(s.url .. "/bytes", dir .. "/a", { query = { size = SIZE, etag = "v1" }, sha256 = crypto.sha256(whole):upper(),
    progress = function(n, total) done[#done + 1] = { n, total } end })
  t.equal({ r.bytes, r.status, r.etag, r.last_modified, r.resumed_from, r.path },
    { SIZE, 200, '"v1"', "Mon, 01 Jan 2024 00:00:00 GMT", nil, dir .. "/a" })
  t.equal(done[#done], { SIZE, SIZE })
  t.equal({ names(dir), fs.read(dir .. "/a") == whole }, { "a", true })
  t.equal(http.download(s.url .. "/chunked?size=100", dir .. "/b").bytes, 100)
  t.equal(http.download(s.url .. "/bytes?size=0", dir .. "/c", { sync = false }).bytes, 0)
  t.equal(http.download(s.url .. "/redirect?to=/bytes?size=10", dir .. "/d").url, s.url .. "/bytes?size=10")
  t.equal(names(dir), "a b c d")
end)

t.test("a cut transfer goes on where it was cut", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  local r <const> = http.download(s.url .. "/bytes?key=a&etag=v1&cut=2000000&cuts=2&size=" .. SIZE, dir .. "/a", { retry = { base = 0 } })
  t.equal({ r.status, r.bytes, r.resumed_from, s.count("a") }, { 206, SIZE, 2000000, 3 })
  t.equal({ names(dir), fs.read(dir .. "/a") == whole }, { "a", true })
  -- With a date in place of an ETag.
  t.equal(http.download(s.url .. "/bytes?key=b&etag=W/x&cut=2000000&cuts=1&size=" .. SIZE, dir .. "/b", { retry = { base = 0 } }).status, 200,
    "the server here tells no time: a date that may be of this second proves nothing")
  t.equal(fs.read(dir .. "/b") == whole, true)
end)

t.test("the next call goes on, too, and only with the same version", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  local function get(version, more)
    return http.download(s.url .. "/bytes", dir .. "/a", { query = { key = more and more.key or "k", etag = version, cut = 2000000,
      cuts = more and more.cuts or 1, size = SIZE }, retry = false })
  end
  local function cut(version, more) return t.raises({ kind = "http", code = "cut" }, get, version, more) end
  cut("v1")
  t.equal(names(dir), "a.part a.part.json")
  t.equal(fs.stat(dir .. "/a.part").size, 2000000)
  -- Another URL by its query: nothing of the old part is used.
  local r = get("v2")
  t.equal({ r.status, r.resumed_from, names(dir) }, { 200, nil, "a" })
  fs.remove(dir .. "/a")
  -- The same URL, another version behind it.
  local url <const> = s.url .. "/changing?key=c&size=" .. SIZE
  t.raises({ code = "cut" }, http.download, url, dir .. "/a", never)
  t.ok(fs.stat(dir .. "/a.part").size > 0)
  r = http.download(url, dir .. "/a", never)
  t.equal({ r.status, r.resumed_from, r.etag }, { 200, nil, '"v2"' })
  t.equal({ names(dir), fs.read(dir .. "/a") == whole }, { "a", true })
  fs.remove(dir .. "/a")
  t.raises({ code = "cut" }, http.download, s.url .. "/bytes?key=d&etag=v1&cut=3000000&cuts=1&size=" .. SIZE, dir .. "/a", never)
  r = http.download(s.url .. "/bytes?key=d&etag=v1&cut=3000000&cuts=1&size=" .. SIZE, dir .. "/a", never)
  t.equal({ r.status, r.resumed_from, fs.read(dir .. "/a") == whole }, { 206, 3000000, true })
end)

t.test("a part that was whole needs no byte more", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  local url <const> = s.url .. "/bytes?key=a&etag=v1&cuts=1&cut=2000000&size=" .. SIZE
  t.raises({ code = "cut" }, http.download, url, dir .. "/a", never)
  fs.append(dir .. "/a.part", whole:sub(2000001))
  local r <const> = http.download(url, dir .. "/a", never)
  t.equal({ r.status, r.bytes, fs.read(dir .. "/a") == whole }, { 416, SIZE, true })
end)

t.test("parts that prove nothing are not continued", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  local url <const> = s.url .. "/bytes?key=a&etag=v1&cut=2000000&cuts=1&size=" .. SIZE
  local function again(change)
    fs.remove(dir .. "/a", { missing_ok = true })
    t.raises({ code = "cut" }, http.download, url:gsub("key=a", "key=" .. tostring(change):gsub("%W", "")), dir .. "/a", never)
    local note <const> = dir .. "/a.part.json"
    fs.write(note, (fs.read(note):gsub(change[1], change[2])))
    local r <const> = http.download(url:gsub("key=a", "key=" .. tostring(change):gsub("%W", "")), dir .. "/a", never)
    t.equal({ r.status, r.resumed_from, fs.read(dir .. "/a") == whole }, { 200, nil, true }, change[1])
  end
  again { '"boot":"', '"boot":"x' }
  again { '"url":"', '"url":"x' }
  again { "{", "" }
  again { ".*", "" }
  fs.write(dir .. "/b.part", ("x"):rep(100))
  t.equal(http.download(url, dir .. "/b", { retry = { base = 0 } }).bytes, SIZE)
  t.equal(fs.read(dir .. "/b") == whole, true)
end)

t.test("a server that answers with another range than asked is not believed", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  local url <const> = s.url .. "/bytes?key=a&etag=v1&wrong_start=7&cut=2000000&cuts=1&size=" .. SIZE
  t.raises({ code = "cut" }, http.download, url, dir .. "/a", never)
  t.raises({ kind = "http", code = "range" }, http.download, url, dir .. "/a", never)
  t.equal(names(dir), "", "that part is worth nothing")
  local r <const> = http.download(url:gsub("key=a", "key=b"), dir .. "/a", { retry = { base = 0 } })
  t.equal({ r.status, fs.read(dir .. "/a") == whole }, { 200, true }, "it began anew")
end)

t.test("what fails leaves the old file and nothing that misleads", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  local path <const> = dir .. "/a"
  fs.write(path, "old", { mode = "0640" })
  local function fails(code, url, opts)
    opts = opts or {}
    opts.retry = false
    t.raises({ kind = "http", code = code }, http.download, s.url .. url, path, opts)
    t.equal({ fs.read(path), names(dir) }, { "old", "a" }, code)
  end
  fails("HTTP 404", "/nothing")
  fails("HTTP 503", "/text?status=503")
  fails("HTTP 204", "/text?status=204")
  fails("cut", "/cut")
  fails("cut", "/cut?how=chunk")
  fails("unframed", "/unframed")
  fails("encoding", "/gzip")
  fails("checksum", "/bytes?size=1000", { sha256 = ("0"):rep(64) })
  fails("checksum", "/bytes?etag=v1&size=1000", { sha256 = ("0"):rep(64) })
  fails("too_large", "/bytes?size=1000001", { max_body = 1000000 })
  fails("too_large", "/chunked?size=1000001", { max_body = 1000000 })
  fails("stall", "/stall?after=10", { stall_timeout = 0.1 })
  fails("timeout", "/drip?n=1000&ms=20", { timeout = 0.2 })
  fails("host_not_allowed", "/bytes?size=1", { allow_hosts = {} })
  http.download(s.url .. "/bytes?size=16", path)
  t.equal({ fs.read(path), fs.stat(path).mode }, { "000000000000000\n", tonumber("640", 8) })
end)

t.test("statuses are retried, and other errors are not", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  t.equal(http.download(s.url .. "/flaky?key=a&fail=2", dir .. "/a", { retry = { base = 0 } }).bytes, #"attempt 3")
  t.raises({ code = "HTTP 503" }, http.download, s.url .. "/flaky?key=b&fail=9", dir .. "/b", { retry = { base = 0, attempts = 3 } })
  t.equal(s.count("b"), 3)
  t.raises({ code = "HTTP 404" }, http.download, s.url .. "/flaky?key=c&fail=9&status=404", dir .. "/c", { retry = { base = 0 } })
  t.equal(s.count("c"), 1)
end)

t.test("places that cannot be written to are told", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  local url <const> = s.url .. "/bytes?size=" .. SIZE
  t.raises({ kind = "fs", code = "ENOENT" }, http.download, url, dir .. "/no/such/a")
  t.raises({ kind = "usage" }, http.download, url, dir)
  fs.write(dir .. "/target", "precious")
  fs.symlink(dir .. "/target", dir .. "/trap.part")
  t.raises({ kind = "fs", code = "ELOOP" }, http.download, url, dir .. "/trap")
  t.equal(fs.read(dir .. "/target"), "precious")
  fs.symlink(dir .. "/target", dir .. "/link")
  http.download(s.url .. "/bytes?size=16", dir .. "/link")
  t.equal({ fs.stat(dir .. "/link", { follow = false }).type, fs.read(dir .. "/target") }, { "link", "000000000000000\n" })
  t.raises({ kind = "usage" }, http.download, url, dir .. "/x", { sha256 = "abc" })
  t.raises({ kind = "usage" }, http.download, url, dir .. "/x", { stream = true })
  t.raises({ kind = "usage" }, http.download, url, nil)
end)

t.test("a full disk is an error of the disk, and the part goes", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  fs.write(dir .. "/x.lua", [[
local ok, e = pcall(require("garun.http").download, arg[1], arg[2], { retry = false })
print(ok, e.kind, e.code)
]])
  -- RLIMIT_FSIZE fails like a full disk, with EFBIG, when SIGXFSZ is ignored.
  local r <const> = proc.run { "sh", "-c", 'trap "" XFSZ; ulimit -f 2000; exec "$@"', "sh", host.exe(), dir .. "/x.lua",
    s.url .. "/bytes?size=" .. SIZE, dir .. "/a", timeout = 60 }
  t.equal({ r.stdout, names(dir) }, { "false\thttp\tEFBIG\n", "x.lua" }, r.stderr)
end)

t.test("two downloads never write to one file", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  local first <close> = task.spawn(http.download, s.url .. "/wait?key=w", dir .. "/a")
  while s.count("waiting w") == 0 do task.sleep(0.002) end
  t.raises({ kind = "http", code = "locked" }, http.download, s.url .. "/bytes?size=10", dir .. "/a")
  http.get(s.url .. "/release?key=w")
  t.equal(first:join().bytes, 8)
  t.equal({ fs.read(dir .. "/a"), names(dir) }, { "released", "a" })
end)

t.test("a cancelled download keeps what it has, when that is worth something", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  for i = 1, 3 do
    local one <close> = task.spawn(http.download, s.url .. "/paused?key=k" .. i .. "&etag=v1&after=3000000&size=" .. SIZE, dir .. "/a")
    while s.count("paused k" .. i) == 0 do task.sleep(0.002) end
    while (fs.stat(dir .. "/a.part") or { size = 0 }).size < 1 << 20 do task.sleep(0.002) end
    one:cancel()
    local ok <const>, e <const> = pcall(one.join, one)
    t.equal({ ok, errors.is(e, "cancelled"), names(dir) }, { false, true, "a.part a.part.json" })
    http.get(s.url .. "/release?key=k" .. i)
    fs.remove(dir .. "/a.part.json")
  end
  t.equal(http.download(s.url .. "/bytes?size=" .. SIZE, dir .. "/a").bytes, SIZE)
  t.equal({ fs.read(dir .. "/a") == whole, names(dir) }, { true, "a" })
end)

t.test("a garun that is killed in the middle leaves a part that the next one continues", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  local url <const> = s.url .. "/paused?key=k&etag=v1&after=3000000&size=" .. SIZE
  local p <const> = proc.spawn { host.exe(), "-e", string.format("require('garun.http').download(%q, %q)", url, dir .. "/a"), stdout = "null" }
  while (fs.stat(dir .. "/a.part") or { size = 0 }).size < 1 << 20 do task.sleep(0.002) end
  p:kill("KILL")
  p:wait()
  http.get(s.url .. "/release?key=k")
  local have <const> = fs.stat(dir .. "/a.part").size
  local r <const> = http.download(url, dir .. "/a", never)
  t.equal({ r.status, r.resumed_from, fs.read(dir .. "/a") == whole, names(dir) }, { 206, have, true, "a" })
end)

t.test("progress grows to the whole, and its error ends the download", function()
  local s <const>, dir <const> = support.server(), t.tmpdir()
  local last, calls = -1, 0
  http.download(s.url .. "/drip?n=30&ms=20", dir .. "/a", { progress_interval = 0.05, progress = function(n, total)
    t.ok(n >= last and total == 30)
    last, calls = n, calls + 1
  end })
  t.equal(last, 30)
  t.ok(calls >= 2)
  t.raises("enough", http.download, s.url .. "/drip?n=1000&ms=20", dir .. "/b", { progress_interval = 0.05,
    progress = function() error "enough" end })
  t.equal(names(dir), "a")
end)
