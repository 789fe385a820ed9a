-- garun.http: requests that are made again, and redirects that are followed or not.
local t <const> = require "garun.test"
local http <const> = require "garun.http"
local retry <const> = require "garun.http.retry"
local support <const> = require "http_support"
local time <const> = require "garun.time"

local quick <const> = { base = 0.001 }

t.test("what may be repeated is, until it works", function()
  local s <const> = support.server()
  for _, status in ipairs { 408, 429, 500, 502, 503, 504 } do
    local r <const> = http.get(s.url .. "/flaky?key=" .. status .. "&fail=3&status=" .. status, { retry = quick })
    t.equal({ r.body, r.attempts }, { "attempt 4", 4 })
  end
  local c <close> = http.client()      -- on a kept connection libcurl would try once more by itself
  t.equal(c:get(s.url .. "/dropped?key=d&fail=3", { retry = quick }).attempts, 4)
  local d <close> = http.client()
  t.equal(d:put(s.url .. "/dropped?key=e&fail=1&reset", { body = "x", retry = quick }).attempts, 2)
  local r <close> = http.get(s.url .. "/flaky?key=s&fail=2", { stream = true, retry = quick })
  t.equal(r:text(), "attempt 3")
end)

t.test("attempts end, and then the last answer or error is the result", function()
  local s <const> = support.server()
  local r <const> = http.get(s.url .. "/flaky?key=a&fail=9", { retry = { attempts = 3, base = 0 } })
  t.equal({ r.status, r.attempts, s.count("a") }, { 503, 3, 3 })
  local c <close> = http.client()
  t.raises({ kind = "http", code = "cut" }, c.get, c, s.url .. "/dropped?key=b&fail=9", { retry = { attempts = 2, base = 0 } })
  t.equal(s.count("b"), 2)
  t.equal(http.get(s.url .. "/flaky?key=c&fail=9", { retry = false }).status, 503)
  t.equal(s.count("c"), 1)
  t.equal(http.get(s.url .. "/flaky?key=d&fail=9&status=418", { retry = quick }).status, 418)
  t.equal(s.count("d"), 1)
  t.equal(http.get(s.url .. "/flaky?key=f&fail=1&status=418", { retry = { base = 0, on = { 418 } } }).attempts, 2)
end)

t.test("a POST is repeated only when its caller says that it may", function()
  local s <const> = support.server()
  t.equal(http.post(s.url .. "/flaky?key=a&fail=1", { body = "x" }).status, 503)
  t.raises({ code = "cut" }, http.post, s.url .. "/dropped?key=b&fail=1", { body = "x" })
  t.equal({ s.count("a"), s.count("b") }, { 1, 1 })
  t.equal(http.post(s.url .. "/flaky?key=c&fail=1", { body = "x", retry = quick }).attempts, 2)
  local c <close> = http.client { retry = quick }
  t.equal(c:post(s.url .. "/flaky?key=d&fail=1", { body = "x" }).status, 503, "a client's policy makes no POST repeatable")
  t.equal(c:post(s.url .. "/flaky?key=e&fail=1", { body = "x", idempotent = true }).attempts, 2)
  t.equal(c:post(s.url .. "/flaky?key=f&fail=1", { body = "x", headers = { ["Idempotency-Key"] = "7" } }).attempts, 2)
end)

t.test("Retry-After is kept to, in seconds and as a date; too long a one ends it", function()
  local s <const> = support.server()
  for _, how in ipairs { "after=1", "after_date=2" } do
    local from <const> = time.monotonic()
    local r <const> = http.get(s.url .. "/flaky?status=429&fail=1&key=" .. how .. "&" .. how, { retry = { base = 0 } })
    t.equal(r.attempts, 2)
    t.ok(time.monotonic() - from >= 0.99, how)
  end
  local r <const> = http.get(s.url .. "/flaky?status=429&fail=1&key=l&after=100", { retry = { base = 0, max = 10 } })
  t.equal({ r.status, r.attempts, r.headers["retry-after"] }, { 429, 1, "100" })
  local e <const> = t.raises({ code = "HTTP 429", retryable = true }, r.check, r)
  t.match(e.hint, "100")
end)

t.test("HTTP dates of all three forms are read, others are not", function()
  for _, text in ipairs { "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994" } do
    t.equal(retry.http_date(text), 784111777)
  end
  for _, text in ipairs { "", "tomorrow", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 +0100", "Sun, 06 Xxx 1994 08:49:37 GMT" } do
    t.equal(retry.http_date(text), nil)
  end
  t.equal(retry.after { ["retry-after"] = "Sun, 06 Nov 1994 08:49:37 GMT", date = "Sun, 06 Nov 1994 08:49:00 GMT" }, 37)
  t.equal(retry.after { ["retry-after"] = "Sun, 06 Nov 1994 08:49:37 GMT", date = "Sun, 06 Nov 1994 09:49:00 GMT" }, 0)
  t.equal(retry.after { ["retry-after"] = "-5" }, nil)
end)

t.test("waits are random and bounded", function()
  local policy <const> = retry.policy("x", { base = 1, max = 5 }, true)
  local seen <const> = {}
  for n = 1, 12 do
    for _ = 1, 50 do
      local d <const> = retry.delay(policy, n)
      t.ok(d >= 0 and d <= math.min(5, 2.0 ^ (n - 1)))
      seen[#seen + 1] = d
    end
  end
  t.ok(seen[1] ~= seen[2])
end)

t.test("redirects are followed with the method that they ask for", function()
  local s <const> = support.server()
  local function post(status)
    local r <const> = http.post(s.url .. "/redirect?status=" .. status, { body = "data", headers = { ["Content-Type"] = "x/y" } })
    return { r:json().method, r:json().length, r.redirects }
  end
  t.equal(post(301), { "GET", 0, 1 })
  t.equal(post(302), { "GET", 0, 1 })
  t.equal(post(303), { "GET", 0, 1 })
  t.equal(post(307), { "POST", 4, 1 })
  t.equal(post(308), { "POST", 4, 1 })
  t.equal(http.put(s.url .. "/redirect?status=302", { body = "data" }):json().method, "PUT")
  t.equal(http.put(s.url .. "/redirect?status=303", { body = "data" }):json().method, "GET")
  local head <const> = http.head(s.url .. "/redirect?status=303")
  t.equal({ head.method, head.status, head.url }, { "HEAD", 200, s.url .. "/echo" })
  local c <close> = http.client()
  local r <const> = c:get(s.url .. "/redirect?n=10")
  t.equal({ r.redirects, r.url, r:json().served }, { 10, s.url .. "/echo", 11 })
  local stream <close> = c:get(s.url .. "/redirect?n=3", { stream = true })
  t.equal(stream:json().served, 15, "all on one connection")
end)

t.test("redirects have an end, and bad ones are told", function()
  local s <const> = support.server()
  local e = t.raises({ kind = "http", code = "redirect", retryable = false }, http.get, s.url .. "/redirect?n=11")
  t.match(e.message, "max_redirects = 10")
  t.raises({ code = "redirect" }, http.get, s.url .. "/redirect?n=3", { max_redirects = 2 })
  local r <const> = http.get(s.url .. "/redirect?n=3", { max_redirects = 0 })
  t.equal({ r.status, r.redirects }, { 302, 0 })
  t.raises({ code = "url" }, http.get, s.url .. "/redirect?to=file:///etc/passwd")
  t.raises({ code = "url" }, http.get, s.url .. "/redirect?to=http://127.0.0.1:99999/")
  e = t.raises({ code = "redirect" }, http.post, s.url .. "/redirect?status=307", { body = function() end })
  t.match(e.hint, "string or file")
  t.equal(http.get(s.url .. "/text?status=302").status, 302, "without Location it is an answer like any other")
end)

t.test("credentials stay with the server that they are for", function()
  local s <const>, other <const> = support.server(), support.server()
  local function seen(to, opts)
    local set <const> = {}
    for _, h in ipairs(http.get(s.url .. "/redirect?to=" .. to .. "/echo", opts):json().headers) do set[h[1]:lower()] = h[2] end
    return set
  end
  local opts <const> = { bearer = "tok-1", headers = { Cookie = "c=1", ["X-Api-Key"] = "k", ["X-Plain"] = "p" } }
  local same <const>, away <const> = seen(s.url, opts), seen(other.url, opts)
  t.equal({ same.authorization, same.cookie, same["x-api-key"], same["x-plain"] }, { "Bearer tok-1", "c=1", "k", "p" })
  t.equal({ away.authorization, away.cookie, away["x-api-key"], away["x-plain"] }, { nil, nil, nil, "p" })
  local base <const> = s.url:gsub("//", "//u:secret-pw@")
  local set <const> = {}
  for _, h in ipairs(http.get(base .. "/redirect?to=" .. other.url .. "/echo"):json().headers) do set[h[1]:lower()] = h[2] end
  t.equal(set.authorization, nil)
end)
