-- garun.http: TLS, HTTP/2 and proxies, against nginx and the server of faults.
local t <const> = require "garun.test"
local fs <const> = require "garun.fs"
local http <const> = require "garun.http"
local host <const> = require "garun.core.host"
local nginx <const> = require "nginx"
local proc <const> = require "garun.proc"
local support <const> = require "http_support"
local task <const> = require "garun.task"

t.test("certificates are verified: the CA, the name", function()
  local c <const> = support.certificates()
  local s <const> = support.server({ "--cert", c.cert, "--key", c.key }, "https")
  local e = t.raises({ kind = "http", code = "tls", retryable = false }, http.get, s.url .. "/echo")
  t.match(e.message .. e.hint, "certificate.*ca =")
  t.equal(http.get(s.url .. "/text?body=safe", { ca = c.ca }).body, "safe")
  t.equal(http.get(s.url .. "/text?body=safe", { ca = fs.read(c.ca) }).body, "safe")
  t.raises({ code = "tls" }, http.get, s.url .. "/echo")      -- the verified connection is not taken for it
  local wrong <const> = support.server({ "--cert", c.other_cert, "--key", c.other_key }, "https")
  e = t.raises({ code = "tls", retryable = false }, http.get, wrong.url .. "/echo", { ca = c.ca })
  t.match(e.hint, "another name")
  t.raises({ code = "tls" }, http.get, s.url .. "/echo", { ca = c.client_cert })
  t.raises({ code = "tls" }, http.get, s.url .. "/echo", { ca = "-----BEGIN CERTIFICATE-----\nrubbish\n" })
  local plain <const> = support.server()
  t.raises({ kind = "http", code = "connect" }, http.get, (plain.url:gsub("http:", "https:")), { retry = false, connect_timeout = 0.2 })
  for _, name in ipairs { "insecure", "verify", "verify_peer" } do
    t.raises({ kind = "usage" }, http.get, s.url, { [name] = name == "insecure" })
  end
end)

t.test("client certificates are shown, with a locked key too, and not carried elsewhere", function()
  local c <const> = support.certificates()
  local s <const> = support.server({ "--cert", c.cert, "--key", c.key, "--client-ca", c.ca }, "https")
  t.raises({ kind = "http" }, http.get, s.url .. "/echo", { ca = c.ca, retry = false })
  t.equal(http.get(s.url .. "/text?body=in", { ca = c.ca, cert = c.client_cert, key = c.client_key }).body, "in")
  t.equal(http.get(s.url .. "/text?body=in", { ca = c.ca, cert = fs.read(c.client_cert), key = fs.read(c.client_key) }).body, "in")
  t.equal(http.get(s.url .. "/text?body=in", { ca = c.ca, cert = c.client_cert, key = c.locked_key, key_password = "key-secret" }).body, "in")
  local anew <close> = http.client { ca = c.ca, cert = c.client_cert, key = c.locked_key, key_password = "wrong-secret" }
  local e <const> = t.raises({ code = "tls" }, anew.get, anew, s.url .. "/echo")
  t.ok(not tostring(e):find("wrong-secret", 1, true))
  t.match(t.raises({ kind = "usage" }, http.get, s.url, { cert = c.client_cert }).message, "go together")
  local free <const> = support.server({ "--cert", c.cert, "--key", c.key }, "https")
  local client <close> = http.client { ca = c.ca, cert = c.client_cert, key = c.client_key }
  t.raises({ kind = "http" }, client.get, client, free.url .. "/redirect?to=" .. s.url .. "/echo", { retry = false })
  t.equal(client:get(s.url .. "/redirect").status, 200)
end)

t.test("https is not left for http", function()
  local c <const> = support.certificates()
  local s <const>, plain <const> = support.server({ "--cert", c.cert, "--key", c.key }, "https"), support.server()
  local e <const> = t.raises({ kind = "http", code = "redirect" }, http.get, s.url .. "/redirect?to=" .. plain.url .. "/echo", { ca = c.ca })
  t.match(e.message, "not encrypted")
  t.equal(http.get(plain.url .. "/redirect?to=" .. s.url .. "/echo", { ca = c.ca }).status, 200)
end)

t.test("a body cut inside TLS is an error", function()
  local c <const> = support.certificates()
  local s <const> = support.server({ "--cert", c.cert, "--key", c.key }, "https")
  for _, how in ipairs { "length", "chunked", "chunk", "reset" } do
    t.raises({ code = "cut" }, http.get, s.url .. "/cut?how=" .. how, { ca = c.ca, retry = false })
  end
  t.raises({ code = "unframed" }, http.get, s.url .. "/unframed", { ca = c.ca })
end)

t.test("HTTP/2: many requests on one connection, whatever a stream does", function()
  local c <const> = support.certificates()
  local n <const> = nginx.for_test { cert = c.cert, key = c.key }
  local data <const> = support.pattern(10 << 20)
  fs.write(n.root .. "/big", data)
  local client <close> = http.client { ca = c.ca }
  local function who(opts)
    local protocol <const>, connection <const> = client:get(n.http2 .. "/who", opts).body:match("^(%S+) (%d+)")
    return protocol, connection
  end
  local connections <const>, versions <const> = {}, {}
  task.map({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 }, function()
    local protocol <const>, connection <const> = who()
    connections[connection], versions[protocol] = true, true
  end, { concurrency = 16 })
  local count = 0
  for _ in pairs(connections) do count = count + 1 end
  t.equal({ count, versions }, { 1, { ["HTTP/2.0"] = true } })
  t.equal({ (who { http2 = false }), client:get(n.http2 .. "/who", { http2 = false }).version }, { "HTTP/1.1", "1.1" })
  t.equal(client:get(n.https .. "/who").version, "1.1", "a server that knows no HTTP/2")
  local whole <const> = client:get(n.http2 .. "/big")
  t.equal({ whole.version, whole.body == data }, { "2", true })
  local slow <close> = client:get(n.http2 .. "/big", { stream = true })
  t.ok(slow:read(10))
  for _ = 1, 20 do t.equal(client:get(n.http2 .. "/who").status, 200) end
  local upload <const> = client:post(n.http2 .. "/big", { body = data, retry = false })
  t.equal({ upload.status, upload.version }, { 405, "2" })
  t.raises({ kind = "timeout" }, task.timeout, 0, client.get, client, n.http2 .. "/big")
  t.equal(client:get(n.http2 .. "/big").body == data, true, "a cancelled stream spoils no other")
end)

t.test("nginx and garun agree on compression, ranges and large files", function()
  local n <const> = nginx.for_test()
  local data <const> = support.pattern(30 << 20)
  fs.write(n.root .. "/big.txt", data)
  local r <const> = http.get(n.url .. "/zipped/big.txt")
  t.equal({ r.headers["content-encoding"], r.body == data }, { "gzip", true })
  local out <const> = t.tmpdir() .. "/big"
  fs.write(out .. ".part", data:sub(1, 10 << 20))
  t.equal(http.download(n.url .. "/big.txt", out).bytes, #data)
  t.equal(fs.read(out) == data, true)
end)

t.test("a TLS session is taken up again", function()
  local c <const> = support.certificates()
  local n <const> = nginx.for_test { cert = c.cert, key = c.key }
  local client <close> = http.client { ca = c.ca, http2 = false }
  local function reused()
    return client:get(n.https .. "/who", { headers = { ["X-A"] = "b" } }).body:match("^%S+ (%d+) %d+ (%S+)")
  end
  local first <const>, old <const> = reused()
  -- A stream that is given up closes its connection.
  fs.write(n.root .. "/big", support.pattern(20 << 20))
  client:get(n.https .. "/big", { stream = true }):close()
  local second <const>, again <const> = reused()
  t.ok(first ~= second, "another connection")
  t.equal({ old, again }, { ".", "r" })
end)

t.test("a proxy is asked as it wants to be, and told from the server", function()
  local c <const> = support.certificates()
  local p <const> = support.server { "--proxy-auth", "user:proxy-pass" }
  local s <const> = support.server({ "--cert", c.cert, "--key", c.key }, "https")
  local proxy <const> = "http://user:proxy-pass@127.0.0.1:" .. p.port
  local r <const> = http.get("http://shop.example/via?a=1", { proxy = proxy }):json()
  t.equal(r.target, "http://shop.example/via?a=1")
  t.equal(http.get(s.url .. "/text?body=through", { proxy = proxy, ca = c.ca }).body, "through")
  t.equal(p.count("proxied"), 2)
  local e = t.raises({ kind = "http", code = "proxy" }, http.get, s.url .. "/echo", { proxy = "http://127.0.0.1:" .. p.port, ca = c.ca })
  t.match(e.message .. e.hint, "407.*user and password")
  e = t.raises({ code = "proxy" }, http.get, s.url .. "/echo", { proxy = "http://user:wrong-pass@127.0.0.1:" .. p.port, ca = c.ca })
  t.ok(not tostring(e):find("wrong-pass", 1, true))
  t.equal(http.get("http://shop.example/x", { proxy = "http://127.0.0.1:" .. p.port }).status, 407)
  t.equal(http.get(s.url .. "/text?body=direct", { proxy = "http://127.0.0.1:1", no_proxy = { "127.0.0.1" }, ca = c.ca }).body, "direct")
  t.raises({ code = "tls" }, http.get, s.url .. "/echo", { proxy = proxy })      -- the proxy is no reason to trust
end)

t.test("the environment's proxy counts only when it is asked for", function()
  local p <const>, s <const> = support.server(), support.server()
  local function run(code, env)
    env.TEST_URL = s.url
    local r <const> = proc.run { host.exe(), "-e", code, env = env, timeout = 60 }
    return r.stdout .. r.stderr
  end
  local env <const> = { http_proxy = "http://127.0.0.1:" .. p.port, no_proxy = false, NO_PROXY = false, all_proxy = p.url }
  t.equal(run([[print(require("garun.http").get(os.getenv "TEST_URL" .. "/text?body=direct").body)]], env), "direct\n")
  t.match(run([[print(require("garun.http").get(os.getenv "TEST_URL" .. "/x", { proxy = "env" }).body)]], env), '"target": "http')
end)
