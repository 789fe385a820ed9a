-- Shared by the tests of garun.http: the server of faults, certificates, counters.

local config <const> = require "garun.config"
local http <const> = require "garun.http"
local proc <const> = require "garun.proc"
local t <const> = require "garun.test"

local support <const> = {}

-- Starts tests/server/http_faults.py for the running test: { port, url, connections(), count(key) }
function support.server(args, scheme)
  local cmd <const> = { "/usr/bin/python3", "-u", config.path "tests/server/http_faults.py", stdin = "pipe", stdout = "pipe" }
  for _, a in ipairs(args or {}) do cmd[#cmd + 1] = a end
  local p <const> = proc.spawn(cmd)
  t.after(function()
    p:close_stdin()
    p:close()
  end)
  local port <const> = tonumber(p:lines()())
  if not port then error "the server of faults did not start" end
  local self <const> = { port = port, process = p, url = (scheme or "http") .. "://127.0.0.1:" .. port }
  function self.count(key) return tonumber(http.get(self.url .. "/count", { query = { key = key } }).body) end
  function self.connections(c)
    local url <const> = self.url .. "/connections"
    return tonumber((c and c:get(url) or http.get(url)).body)
  end
  return self
end

-- A CA and a server certificate for localhost and 127.0.0.1, and a client's: { ca, cert, key, client_cert, client_key }
function support.certificates()
  if t.run { "sh", "-c", "command -v openssl" }.status ~= 0 then t.skip "no openssl command here" end
  local dir <const> = t.tmpdir()
  local script <const> = [[
set -e
cd "$1"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.crt -subj /CN=garun-test-ca 2>/dev/null
for who in server other client; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $who.key -out $who.csr -subj /CN=$who 2>/dev/null
done
printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' > server.ext
printf 'subjectAltName=DNS:elsewhere.example\n' > other.ext
printf 'extendedKeyUsage=clientAuth\n' > client.ext
for who in server other client; do
  openssl x509 -req -in $who.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out $who.crt -extfile $who.ext 2>/dev/null
done
openssl ec -in client.key -aes128 -passout pass:key-secret -out client.locked.key 2>/dev/null
]]
  local r <const> = t.run { "sh", "-c", script, "sh", dir }
  if r.status ~= 0 then error("no certificates: " .. r.stderr) end
  return { ca = dir .. "/ca.crt", cert = dir .. "/server.crt", key = dir .. "/server.key", other_cert = dir .. "/other.crt",
    other_key = dir .. "/other.key", client_cert = dir .. "/client.crt", client_key = dir .. "/client.key",
    locked_key = dir .. "/client.locked.key", dir = dir }
end

-- The bytes of /bytes, by the same rule as the server's.
function support.pattern(size)
  local lines <const> = {}
  for i = 0, (size + 15) // 16 - 1 do lines[#lines + 1] = string.format("%015x\n", i) end
  return table.concat(lines):sub(1, size)
end

-- A port on which nobody listens: one that was free a moment ago.
function support.free_port()
  local r <const> = proc.run { "/usr/bin/python3", "-c",
    "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])" }
  return tonumber(r.stdout)
end

return support
