-- garun.http: what goes out, what comes back, and how connections are used.
local t <const> = require "garun.test"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local http <const> = require "garun.http"
local json <const> = require "garun.json"
local support <const> = require "http_support"
local task <const> = require "garun.task"

local function headers_of(echo)
  local set <const> = {}
  for _, h in ipairs(echo.headers) do set[h[1]:lower()] = (set[h[1]:lower()] and set[h[1]:lower()] .. "|" or "") .. h[2] end
  return set
end

t.test("every method arrives, with its body", function()
  local s <const> = support.server()
  for _, method in ipairs { "get", "delete", "post", "put", "patch" } do
    local r <const> = http[method](s.url .. "/echo"):json()
    t.equal({ r.method, r.length }, { method:upper(), 0 })
  end
  for _, method in ipairs { "post", "put", "patch", "delete" } do
    local r <const> = http[method](s.url .. "/echo", { body = "a\0b" }):json()
    t.equal({ r.method, r.body }, { method:upper(), "a\0b" })
  end
  local head <const> = http.head(s.url .. "/text?body=hello")
  t.equal({ head.status, head.body, head.headers["Content-Length"] }, { 200, "", "5" })
  t.equal(http.request({ method = "options", url = s.url .. "/echo" }):json().method, "OPTIONS")
  t.equal(headers_of(http.post(s.url .. "/echo"):json())["content-length"], "0")
  local sent <const> = headers_of(http.post(s.url .. "/echo", { body = ("x"):rep(3 << 20) }):json())
  t.equal({ sent["content-type"], sent.expect, sent["content-length"] }, { nil, nil, tostring(3 << 20) })
end)

t.test("query, form and JSON are written as servers read them", function()
  local s <const> = support.server()
  local function target(query, path) return http.get(s.url .. (path or "/echo"), { query = query }):json().target end
  t.equal(target { b = 1, a = "x y&z=ü", c = { "1", true } }, "/echo?a=x%20y%26z%3D%C3%BC&b=1&c=1&c=true")
  t.equal(target { { "z", 1 }, { "a", 2 } }, "/echo?z=1&a=2")
  t.equal(target({ b = 2 }, "/echo?a=1"), "/echo?a=1&b=2")
  t.equal(target({ b = 2 }, "/echo?"), "/echo?b=2")
  t.equal(target({ b = 2 }, "/echo#part"), "/echo?b=2")
  t.equal(target("?raw=%20"), "/echo?raw=%20")
  t.equal(target {}, "/echo")
  local form <const> = http.post(s.url .. "/echo", { form = { a = "1 2", b = "+" } }):json()
  t.equal({ form.body, headers_of(form)["content-type"] }, { "a=1%202&b=%2B", "application/x-www-form-urlencoded" })
  local sent <const> = http.post(s.url .. "/echo", { json = { id = 9007199254740993, list = json.array {} } }):json()
  t.equal(headers_of(sent)["content-type"], "application/json")
  t.equal(json.decode(sent.body), { id = 9007199254740993, list = {} })
  t.equal(http.post(s.url .. "/echo", { json = json.null }):json().body, "null")
  t.equal(http.get(s.url .. "/echo/ä b?c=ö"):json().target, "/echo/%C3%A4%20b?c=%C3%B6")
end)

t.test("headers go out and come back as they are", function()
  local s <const> = support.server()
  local sent <const> = headers_of(http.get(s.url .. "/echo", { headers = { ["X-One"] = "1", ["X-List"] = { "a", "b" },
    ["X-Empty"] = "", ["X-Number"] = 5, Accept = "text/csv", ["User-Agent"] = false } }):json())
  t.equal({ sent["x-one"], sent["x-list"], sent["x-empty"], sent["x-number"], sent.accept, sent["user-agent"] },
    { "1", "a|b", "", "5", "text/csv", nil })
  t.match(headers_of(http.get(s.url .. "/echo"):json())["user-agent"], "^garun")
  t.equal(headers_of(http.get(s.url .. "/echo", { user_agent = "shop/1" }):json())["user-agent"], "shop/1")
  local h <const> = http.get(s.url .. "/head?how=fold").headers
  t.equal({ h["x-fold"], h["X-Twice"], h["X-TWICE"], h["x-empty"], h["set-cookie"], h["none"] },
    { "a   b", "1, 2", "1, 2", "", { "a=1, b", "c=2" }, nil })
end)

t.test("no header and no URL can carry a line end", function()
  for _, value in ipairs { "a\r\nX: y", "a\nb", "a\0b", "a\rb", "\127" } do
    t.raises({ kind = "usage" }, http.get, "http://127.0.0.1:1/", { headers = { ["X-A"] = value } })
    t.raises({ kind = "usage" }, http.get, "http://127.0.0.1:1/", { bearer = value })
    t.raises({ kind = "usage" }, http.get, "http://127.0.0.1:1/", { user_agent = value })
    t.raises({ kind = "http", code = "url" }, http.get, "http://127.0.0.1:1/" .. value)
  end
  for _, name in ipairs { "", "a b", "a:", "ä", "a\r\n" } do
    t.raises({ kind = "usage" }, http.get, "http://127.0.0.1:1/", { headers = { [name] = "x" } })
  end
  for _, name in ipairs { "Content-Length", "transfer-encoding", "Connection" } do
    t.raises("set by garun itself", http.get, "http://127.0.0.1:1/", { headers = { [name] = "1" } })
  end
  t.raises({ kind = "usage" }, http.request, { url = "http://127.0.0.1:1/", method = "GET /x HTTP/1.1\r\n" })
end)

t.test("only http and https URLs are taken, and wrong ones say why", function()
  for url, why in pairs { ["ftp://127.0.0.1/"] = "scheme", ["file:///etc/passwd"] = "scheme", ["127.0.0.1/x"] = "no scheme",
    ["http://"] = "bad URL", ["http://127.0.0.1:99999/"] = "bad URL", ["gopher://x/"] = "scheme", ["http://[::1/"] = "bad URL" } do
    t.match(t.raises({ kind = "http", code = "url" }, http.get, url).message, why)
  end
  t.raises({ kind = "usage" }, http.get, nil)
  t.raises({ kind = "usage" }, http.get, 5)
  t.match(t.raises({ kind = "usage" }, http.get, "http://127.0.0.1:1", { heders = {} }).message, "headers")
  t.raises("not both", http.post, "http://127.0.0.1:1", { json = 1, body = "x" })
  t.raises("no body", http.head, "http://127.0.0.1:1", { body = "x" })
  t.raises({ kind = "usage" }, http.post, "http://127.0.0.1:1", { body = 5 })
  for name, value in pairs { timeout = 0, stall_timeout = -1, max_body = 0, max_redirects = 1.5, connect_timeout = "1",
    retry = { attempts = 0 }, allow_hosts = "x", basic_auth = { "a:b", "c" }, proxy = "nonsense", ca = "/no/such/file" } do
    t.raises({ kind = "usage" }, http.get, "http://127.0.0.1:1", { [name] = value })
  end
end)

t.test("any status is a response; check raises with what the server said", function()
  local s <const> = support.server()
  local function get(status, body) return http.get(s.url .. "/text", { query = { status = status, body = body }, retry = false }) end
  t.equal({ get(404, "gone").status, get(404, "gone").body }, { 404, "gone" })
  local ok <const> = get(201)
  t.equal(ok:check(), ok)
  for status, retryable in pairs { [400] = false, [404] = false, [429] = true, [500] = true, [501] = false, [503] = true } do
    local e <const> = t.raises({ kind = "http", code = "HTTP " .. status, retryable = retryable }, function() get(status):check() end)
    t.match(e.message, "GET http://127.0.0.1.*" .. status)
  end
  local e <const> = t.raises({ code = "HTTP 500" }, function() get(500, "\27[31mred\r\n" .. ("x"):rep(1000)):check() end)
  t.match(e.detail, "^\\x1B%[31mred\\x0D\\x0Ax+%.%.%.$")
  t.ok(#e.detail < 500)
  t.raises({ code = "HTTP 302" }, function() http.get(s.url .. "/redirect", { max_redirects = 0 }):check() end)
end)

t.test("a body that is no JSON says so, with its beginning", function()
  local s <const> = support.server()
  t.equal(http.get(s.url .. '/text?body={"a":[1,2]}'):json(), { a = { 1, 2 } })
  local e <const> = t.raises({ kind = "http", code = "json" }, function() http.get(s.url .. "/text?body=<html>"):json() end)
  t.match(e.detail, "status 200.*<html>")
  t.raises({ code = "json" }, function() http.get(s.url .. "/text?body="):json() end)
end)

t.test("a client has its own options, and requests their own over them", function()
  local s <const> = support.server()
  local api <close> = http.client { base_url = s.url .. "/echo/v2/", headers = { ["X-A"] = "client", ["X-B"] = "b" }, bearer = "tok-client",
    timeout = 30 }
  local r = api:get("orders", { query = { id = 1 } }):json()
  t.equal(r.target, "/echo/v2/orders?id=1")
  t.equal(api:get("/orders"):json().target, "/echo/v2/orders")
  t.equal(api:get(s.url .. "/echo"):json().target, "/echo", "a whole URL stays one")
  t.equal(headers_of(r).authorization, "Bearer tok-client")
  r = headers_of(api:get("x", { headers = { ["x-a"] = "request" }, basic_auth = { "u", "pass word" } }):json())
  t.equal({ r["x-a"], r["x-b"], r.authorization }, { "request", "b", "Basic dTpwYXNzIHdvcmQ=" })
  r = headers_of(api:get("x", { headers = { Authorization = "Own thing" } }):json())
  t.equal(r.authorization, "Own thing")
  t.equal(headers_of(http.get((s.url:gsub("//", "//us%%20er:p%%40ss@")) .. "/echo"):json()).authorization, "Basic dXMgZXI6cEBzcw==")
  local n = 0
  local function token() n = n + 1 return "token-" .. n end
  t.equal(headers_of(http.get(s.url .. "/echo", { bearer = token }):json()).authorization, "Bearer token-1")
  api:close()
  t.raises({ kind = "http", code = "closed" }, api.get, api, "x")
  api:close()
end)

t.test("connections are kept, and no more are made than allowed", function()
  local s <const> = support.server()
  local c <close> = http.client()
  for i = 1, 5 do t.equal(c:get(s.url .. "/echo"):json().served, i) end
  local narrow <close> = http.client { max_connections = 3 }
  local before <const> = s.connections(narrow)
  local most, now = 0, 0
  task.map({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 }, function()
    now = now + 1
    most = math.max(most, now)
    narrow:get(s.url .. "/drip?n=2&ms=5"):check()
    now = now - 1
  end, { concurrency = 12 })
  t.equal(most, 12, "twelve tasks asked at once")
  t.ok(s.connections(narrow) - before <= 2, "three connections served them")
end)

t.test("per_host bounds one server and leaves the others alone", function()
  local a <const>, b <const> = support.server(), support.server()
  local c <close> = http.client { per_host = 1, max_connections = 10 }
  local held <close> = task.spawn(function() return c:get(a.url .. "/wait?key=k").body end)
  while http.get(a.url .. "/count?key=waiting%20k").body ~= "1" do task.sleep(0.002) end
  local second <close> = task.spawn(function() return c:get(a.url .. "/echo").status end)
  t.equal(c:get(b.url .. "/echo").status, 200)
  t.equal(second:status(), "waiting", "its server is busy")
  local e <const> = t.raises({ code = "timeout" }, c.get, c, a.url .. "/echo", { timeout = 0.05 })
  t.match(e.message, "waited for a free connection")
  http.get(a.url .. "/release?key=k")
  t.equal({ held:join(), second:join() }, { "released", 200 })
end)

t.test("closing a client ends what it does", function()
  local s <const> = support.server()
  local c <const> = http.client()
  local running <close> = task.spawn(function() return pcall(c.get, c, s.url .. "/stall?after=-1&key=s") end)
  local queued <const> = http.client { max_connections = 1 }
  local first <close> = task.spawn(function() return pcall(queued.get, queued, s.url .. "/stall?after=-1&key=s") end)
  while s.count("s") < 2 do task.sleep(0.002) end
  local second <close> = task.spawn(function() return pcall(queued.get, queued, s.url .. "/echo") end)
  task.sleep(0)
  c:close()
  queued:close()
  for _, one in ipairs { running, first, second } do
    local ok <const>, e <const> = one:join()
    t.equal({ ok, errors.is(e, "http"), e.code }, { false, true, "closed" })
  end
end)

t.test("hosts outside the allow-list are not asked, by redirects neither", function()
  local s <const>, other <const> = support.server(), support.server()
  local function get(url, hosts) return http.get(url, { allow_hosts = hosts, retry = false }) end
  t.equal(get(s.url .. "/echo", { "127.0.0.1" }).status, 200)
  t.equal(get(s.url .. "/echo", { "127.0.0.1:" .. s.port }).status, 200)
  t.equal(get(s.url .. "/echo", { "x.example", "*.0.0.1" }).status, 200)
  for _, hosts in ipairs { {}, { "localhost" }, { "127.0.0.1:1" }, { "*.127.0.0.1" }, { "27.0.0.1" }, { "*.1.0.0" } } do
    t.raises({ kind = "http", code = "host_not_allowed", retryable = false }, get, s.url .. "/echo", hosts)
  end
  local before <const> = other.connections()
  t.raises({ code = "host_not_allowed" }, get, s.url .. "/redirect?to=" .. other.url .. "/echo", { "127.0.0.1:" .. s.port })
  t.equal(other.connections(), before, "the other one was not even asked")
  local at <const> = require("garun.http.url").parse
  local allowed <const> = require("garun.http.url").allowed
  t.ok(allowed(at "https://API.Example.com/", { "*.example.com" }))
  t.ok(not allowed(at "https://example.com/", { "*.example.com" }))
  t.ok(not allowed(at "https://evilexample.com/", { "*.example.com" }))
  t.ok(not allowed(at "https://example.com.evil.org/", { "example.com" }))
  t.ok(not allowed(at "https://example.com@evil.org/", { "example.com" }))
  t.ok(allowed(at "http://[::1]:80/", { "::1" }))
end)

t.test("IPv6 works", function()
  if not fs.exists("/proc/net/if_inet6") or not fs.read("/proc/net/if_inet6"):find("^0+1 ") then t.skip "no ::1 here" end
  local s <const> = support.server { "--ipv6" }
  t.equal(http.get("http://[::1]:" .. s.port .. "/text?body=six").body, "six")
end)

t.test("what is secret is in no error", function()
  local s <const> = support.server()
  local secrets <const> = { "pw-in-url", "tok-bearer-1", "tok-query-2", "basic-pass-3", "own-header-4" }
  local base <const> = s.url:gsub("//", "//user:pw-in-url@")
  local function texts(e) return tostring(e) .. " " .. (e.detail or "") .. " " .. (e.hint or "") end
  local collected <const> = {}
  local function collect(fn, ...)
    local ok <const>, e <const> = pcall(fn, ...)
    t.ok(not ok)
    collected[#collected + 1] = texts(e)
  end
  local function post(url, body, opts)
    opts.body, opts.headers = body, opts.headers or {}
    return http.post(url, opts)
  end
  collect(function() http.get(base .. "/text?status=400&token=tok-query-2&body=pw-in-url"):check() end)
  collect(function() http.get(base .. "/cut?X-Amz-Signature=tok-query-2", { retry = false }) end)
  collect(function() post(s.url .. "/text?status=400", "it was tok-bearer-1", { bearer = "tok-bearer-1" }):check() end)
  collect(function() post(s.url .. "/text?status=400", "basic-pass-3!", { basic_auth = { "u", "basic-pass-3" } }):check() end)
  collect(function()
    post(s.url .. "/text?status=400", "own-header-4 own-header-4", { headers = { Authorization = "own-header-4" } }):check()
  end)
  collect(function() post(s.url .. "/text", "<own-header-4>", { headers = { Authorization = "own-header-4" } }):json() end)
  collect(function() http.get("ftp://user:pw-in-url@127.0.0.1/") end)
  collect(function() http.get("http://user:pw-in-url@127.0.0.1:99999/?key=tok-query-2") end)
  collect(function() http.get(s.url .. "/echo", { proxy = "http://u:basic-pass-3@127.0.0.1:1", retry = false }) end)
  for i, text in ipairs(collected) do
    for _, secret in ipairs(secrets) do t.ok(not text:find(secret, 1, true), i .. ": " .. text) end
  end
  t.match(collected[1], "token=%*%*%*")
end)
