-- garun.http: bodies that flow, in both directions, with a bound on what waits in between.
local t <const> = require "garun.test"
local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local gzip <const> = require "garun.gzip"
local http <const> = require "garun.http"
local support <const> = require "http_support"
local task <const> = require "garun.task"

t.test("a stream gives the body's bytes in order and its end once", function()
  local s <const> = support.server()
  local whole <const> = support.pattern(3000000)
  for _, path in ipairs { "/bytes?size=3000000", "/chunked?size=3000000&piece=50001", "/gzip?size=3000000" } do
    local r <close> = http.get(s.url .. path, { stream = true })
    t.equal({ r.status, r.body }, { 200, nil })
    local parts <const> = {}
    for chunk in r:chunks() do parts[#parts + 1] = chunk end
    t.equal(table.concat(parts) == whole, true, path)
    t.equal(r:read(), nil)
  end
  local r <close> = http.get(s.url .. "/bytes?size=100", { stream = true })
  t.equal({ r:read(16), r:read(16), #r:text() }, { "000000000000000\n", "000000000000001\n", 68 })
  local empty <close> = http.get(s.url .. "/bytes?size=0", { stream = true })
  t.equal(empty:read(), nil)
  t.raises({ kind = "usage" }, r.read, r, 0)
  local plain <const> = http.get(s.url .. "/bytes?size=100")
  t.equal({ plain:read(16), #plain:text(), #plain:read(), plain:read() }, { "000000000000000\n", 100, 84, nil })
end)

t.test("lines and compressed files are read straight from a response", function()
  local s <const> = support.server()
  local n = 0
  for line in fs.lines(http.get(s.url .. "/gzip?size=1600000", { stream = true }):chunks()) do
    t.equal(tonumber(line, 16), n)
    n = n + 1
  end
  t.equal(n, 100000)
  local r <close> = http.get(s.url .. "/gzip?how=members", { stream = true, decompress = false })
  local size = 0
  for chunk in gzip.reader((r:chunks())) do size = size + #chunk end
  t.equal(size, 100000)
end)

t.test("a slow reader makes the server wait, and others go on", function()
  local s <const> = support.server()
  local r <close> = http.get(s.url .. "/endless?key=e", { stream = true, stall_timeout = 0.3 })
  local sent, same = 0, 0
  while same < 5 do      -- until the server is stuck in its send
    task.sleep(0.05)
    local now <const> = s.count("e")
    same = now == sent and same + 1 or 0
    sent = now
  end
  t.ok(sent < 500, sent .. " blocks of 64 KiB went into buffers of ours and the kernel's")
  task.sleep(0.5)        -- longer than stall_timeout: it is we who are slow
  local got = 0
  while got < 100 << 20 do got = got + #r:read() end
  t.ok(s.count("e") > sent)
end)

t.test("a body from a function is sent in chunks, one from a file with its length", function()
  local s <const> = support.server()
  local n = 0
  local r = http.post(s.url .. "/echo", { body = function()
    n = n + 1
    task.sleep(0)
    return n <= 50 and ("x"):rep(n * 1000) or nil
  end }):json()
  local size <const> = 1000 * 50 * 51 // 2
  t.equal({ r.length, r.sha256 }, { size, crypto.sha256(("x"):rep(size)) })
  local function header(name)
    for _, h in ipairs(r.headers) do
      if h[1]:lower() == name then return h[2] end
    end
  end
  t.equal({ header "transfer-encoding", header "expect" }, { "chunked", nil })
  local path <const> = t.tmpdir() .. "/data"
  local data <const> = support.pattern(5000000)
  fs.write(path, data)
  do
    local f <close> = fs.open(path)
    r = http.put(s.url .. "/echo", { body = f }):json()
    t.equal({ r.length, r.sha256, header "content-length" }, { #data, crypto.sha256(data), tostring(#data) })
    f:seek("set", 1000000)
    r = http.put(s.url .. "/echo", { body = f }):json()
    t.equal({ r.length, r.sha256 }, { 4000000, crypto.sha256(data:sub(1000001)) })
  end
  t.equal(http.post(s.url .. "/echo", { body = function() end }):json().length, 0)
  r = http.post(s.url .. "/echo", { body = ("y"):rep(20 << 20) }):json()
  t.equal({ r.length, r.sha256 }, { 20 << 20, crypto.sha256(("y"):rep(20 << 20)) })
end)

t.test("a file that is sent again is sent from its beginning, a function never", function()
  local s <const> = support.server()
  local path <const> = t.tmpdir() .. "/data"
  fs.write(path, support.pattern(300000))
  local f <close> = fs.open(path)
  local r <const> = http.put(s.url .. "/flaky?key=f&fail=2", { body = f, retry = { base = 0 } })
  t.equal({ r.body, r.attempts }, { "attempt 3", 3 })
  r.status = http.put(s.url .. "/flaky?key=g&fail=2", { body = function() end, retry = { base = 0 } }).status
  t.equal({ r.status, s.count("g") }, { 503, 1 })
end)

t.test("an error of the body's source ends the request and comes through", function()
  local s <const> = support.server()
  t.raises("the source broke", http.post, s.url .. "/echo", { body = function() error "the source broke" end })
  local e <const> = t.raises({ kind = "shop" }, http.post, s.url .. "/echo", { stream = true, body = function()
    error(errors.new { kind = "shop", message = "no more" })
  end })
  t.ok(e)
  t.raises({ kind = "usage" }, http.post, s.url .. "/echo", { body = function() return 5 end })
end)

t.test("an answer before the body's end is the response", function()
  local s <const> = support.server()
  local asked = 0
  local r <const> = http.post(s.url .. "/early?status=413", { body = function()
    asked = asked + 1
    task.sleep(0.001)
    return asked < 100000 and ("z"):rep(10000) or nil
  end })
  t.equal({ r.status, r.body }, { 413, "too much" })
  t.ok(asked < 100000)
end)

t.test("both directions flow at once", function()
  local s <const> = support.server()
  local n = 0
  local r <close> = http.post(s.url .. "/duplex", { stream = true, body = function()
    n = n + 1
    return n <= 3000 and string.format("%015d\n", n):rep(100) or nil
  end })
  local digest <const>, size = crypto.sha256(), 0
  for chunk in r:chunks() do
    digest:update(chunk)
    size = size + #chunk
  end
  local want <const> = crypto.sha256()
  for i = 1, 3000 do want:update(string.format("%015d\n", i):rep(100)) end
  t.equal({ size, digest:final() }, { 3000 * 1600, want:final() })
end)

t.test("multipart is what Python's parser reads, names and files included", function()
  local s <const> = support.server()
  local path <const> = t.tmpdir() .. "/picture.bin"
  fs.write(path, "\0\1\2--\r\n" .. support.pattern(200000))
  local function sent(fields)
    local r <const> = http.post(s.url .. "/multipart", { multipart = fields })
    return r:check():json()
  end
  t.equal(sent { a = "1", b = 2, c = true }, { { name = "a", length = 1, body = "1" }, { name = "b", length = 1, body = "2" },
    { name = "c", length = 4, body = "true" } })
  local got <const> = sent { { name = "text", content = "ä\r\n--x", type = "text/plain; charset=utf-8" },
    { name = "file", file = path }, { name = "made", content = "x", filename = 'quo"te.txt' } }
  t.equal(got[1], { name = "text", length = 7, body = "Ã¤\r\n--x", type = 'text/plain; charset="utf-8"' })
  t.equal({ got[2].filename, got[2].length, got[2].sha256, got[2].type },
    { "picture.bin", 200007, crypto.sha256(fs.read(path)), "application/octet-stream" })
  t.equal(got[3].filename, "quo%22te.txt")
  t.equal(sent { ["evil\r\nX: y"] = "v" }[1].name, "evil%0D%0AX: y")
  for _, bad in ipairs { {}, { a = {} }, { a = { content = "x", file = path } }, { a = { file = "/no/such" } }, { { content = "x" } },
    { a = { content = "x", typo = 1 } }, { a = { content = "x", type = "a\r\nb" } } } do
    t.raises({ kind = "usage" }, http.post, s.url .. "/multipart", { multipart = bad })
  end
end)
