-- nginx for tests and benches: a real server on free ports of the loopback, as nobody when the tests run as root.

local fs <const> = require "garun.fs"
local http <const> = require "garun.http"
local proc <const> = require "garun.proc"

local nginx <const> = {}

local function free_ports(n)
  local r <const> = proc.run { "/usr/bin/python3", "-c", [[
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held: s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in held])]], tostring(n) }
  local ports <const> = {}
  for p in r.stdout:gmatch("%d+") do ports[#ports + 1] = tonumber(p) end
  return ports
end

local function config(dir, opts, ports)
  local tls <const> = opts.cert and string.format([[
  server {
    listen 127.0.0.1:%d ssl http2;
    listen 127.0.0.1:%d ssl;
    ssl_certificate %s; ssl_certificate_key %s; ssl_session_cache shared:tls:1m;
    %s
    root %s/root;
    location /who { return 200 "$server_protocol $connection $connection_requests $ssl_session_reused $ssl_client_s_dn\n"; }
  }]], ports[2], ports[3], opts.cert, opts.key,
    opts.client_ca and "ssl_client_certificate " .. opts.client_ca .. "; ssl_verify_client on;" or "", dir) or ""
  return string.format([[
daemon off; worker_processes %d; pid %s/nginx.pid; error_log %s/error.log;
events { worker_connections 1024; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type text/plain; server_tokens off;
  client_body_temp_path %s/tmp/body; proxy_temp_path %s/tmp/proxy; fastcgi_temp_path %s/tmp/fastcgi;
  uwsgi_temp_path %s/tmp/uwsgi; scgi_temp_path %s/tmp/scgi; client_max_body_size 0;
  gzip_types text/plain; gzip_min_length 100;
  server {
    listen 127.0.0.1:%d;
    root %s/root;
    location /who { return 200 "$server_protocol $connection $connection_requests\n"; }
    location /zipped/ { gzip on; alias %s/root/; }
  }
%s
}
]], opts.workers or 1, dir, dir, dir, dir, dir, dir, dir, ports[1], dir, dir, tls)
end

local function start(dir, opts)
  local ports <const> = free_ports(3)
  fs.write(dir .. "/nginx.conf", config(dir, opts, ports), { sync = false })
  local cmd <const> = { fs.exists "/usr/sbin/nginx" and "/usr/sbin/nginx" or "nginx", "-p", dir, "-c", dir .. "/nginx.conf", "-e", dir .. "/error.log", stdout = "null",
    stderr = dir .. "/stderr.log", new_group = true }
  if proc.uid() == 0 then cmd.user = "nobody" end
  local p <const> = proc.spawn(cmd)
  local url <const> = "http://127.0.0.1:" .. ports[1]
  for _ = 1, 1000 do
    if pcall(http.get, url .. "/who", { retry = false, timeout = 5 }) then
      return { process = p, url = url, http2 = "https://localhost:" .. ports[2], https = "https://localhost:" .. ports[3], dir = dir,
        root = dir .. "/root" }
    end
    if p:wait(0.01) then break end
  end
  p:close()
  return nil
end

-- Starts one in a directory of the caller's. opts: cert, key, client_ca (files), workers. Gives { url, http2, https, root,
-- close() }; files put into root are served, /who tells protocol, connection and request numbers.
function nginx.start(dir, opts)
  opts = opts or {}
  if proc.run { "sh", "-c", "PATH=$PATH:/usr/sbin command -v nginx" }.status ~= 0 then return nil, "no nginx here" end
  local own <const> = dir .. "/nginx"
  for _, name in ipairs { own, own .. "/root", own .. "/tmp" } do fs.mkdir(name, { parents = true }) end
  local copy <const> = { workers = opts.workers }
  for _, name in ipairs { "cert", "key", "client_ca" } do
    if opts[name] then
      copy[name] = own .. "/" .. name
      fs.write(copy[name], fs.read(opts[name]), { mode = "0644" })
    end
  end
  fs.chmod(dir, "0755")
  for _, name in ipairs { own, own .. "/tmp" } do fs.chmod(name, "0777") end
  for _ = 1, 5 do      -- a port that was free may be taken by now
    local server <const> = start(own, copy)
    if server then
      function server.close() server.process:close() end
      return server
    end
  end
  error("nginx did not start: " .. (fs.exists(own .. "/error.log") and fs.read(own .. "/error.log") or ""))
end

-- For the running test: ended with it, skipped where there is no nginx.
function nginx.for_test(opts)
  local t <const> = require "garun.test"
  local server <const>, why <const> = nginx.start(t.tmpdir(), opts)
  if not server then t.skip(why) end
  t.after(server.close)
  return server
end

return nginx
