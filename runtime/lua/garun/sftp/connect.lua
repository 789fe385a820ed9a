-- garun.sftp.connect: from what a script says to an open session. Which address, which host key is the right one, how to
-- authenticate, and what to tell when one of these fails. No secret is sent before the host's key has been checked.

local core <const> = require "garun.core.sftp"
local clock <const> = require "garun.core.time"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local keys <const> = require "garun.sftp.keys"
local log <const> = require "garun.log"
local printable <const> = require "garun.printable"

local M <const> = {}

local KNOWN <const> = { "host", "port", "username", "password", "private_key", "private_key_file", "passphrase", "agent",
  "host_key", "known_hosts", "connect_timeout", "timeout", "compression" }

local RSA_HINT <const> = "this is an RSA key: the SSH library of this system (libssh2 1.10) signs with SHA-1 only, which "
  .. "OpenSSH refuses since 8.8; make a new one with `ssh-keygen -t ed25519` and give its .pub to the server"

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "option", message = string.format("sftp.connect: " .. fmt, ...) }, 0)
end

local function fail(fields)
  fields.kind = "sftp"
  fields.message = "sftp.connect: " .. fields.message
  error(errors.new(fields), 0)
end

---- options ----

local function check(opts, name, kind, needed)
  local value <const> = opts[name]
  if value == nil then
    if needed then misuse("option '%s' is missing", name) end
    return nil
  end
  if type(value) ~= kind then misuse("option '%s' must be a %s, not a %s", name, kind, type(value)) end
  if kind == "string" and (value == "" or value:find("\0", 1, true)) then
    misuse("option '%s' is empty or has a NUL byte", name)
  end
  return value
end

local function seconds(opts, name, default, most)
  local value <const> = check(opts, name, "number") or default
  if not (value > 0 and value <= most) then misuse("option '%s' must be a number of seconds above 0, to %d", name, most) end
  return value
end

-- Copies, so that nothing that the script changes later matters.
local function settle(opts)
  opts = errors.check_options("sftp.connect", opts, KNOWN)
  local o <const> = {
    host = check(opts, "host", "string", true), port = opts.port == nil and 22 or opts.port,
    username = check(opts, "username", "string", true), password = check(opts, "password", "string"),
    key = check(opts, "private_key", "string"), passphrase = check(opts, "passphrase", "string"),
    connect_timeout = seconds(opts, "connect_timeout", 10, 3600), timeout = seconds(opts, "timeout", 60, 86400),
    compression = check(opts, "compression", "boolean") or false, agent = opts.agent,
  }
  if math.type(o.port) ~= "integer" or o.port < 1 or o.port > 65535 then misuse("option 'port' must be from 1 to 65535") end
  if o.host:find("[%c%s/]") then misuse("option 'host' must be a name or an address") end
  if o.agent ~= nil and type(o.agent) ~= "boolean" and type(o.agent) ~= "string" then
    misuse("option 'agent' must be true or the path of its socket")
  end
  local file <const> = check(opts, "private_key_file", "string")
  if file then
    if o.key then misuse("give private_key or private_key_file, not both") end
    o.key = fs.read(file, { max_bytes = 256 << 10 })
    o.key_name = file
    local stat <const> = fs.stat(file)
    if stat and stat.mode & 63 ~= 0 then
      log.warn("others than its owner may read a private key", { file = file, mode = string.format("%04o", stat.mode) })
    end
  end
  if o.key and not o.key:find("-----BEGIN [%w ]*PRIVATE KEY-----") then
    misuse("%s holds no private key in PEM or OpenSSH form (\"-----BEGIN ... PRIVATE KEY-----\")%s", file or "private_key",
      o.key:match("^ssh%-") and ": it is the public one" or "")
  end
  if not (o.password or o.key or o.agent) then
    misuse("give password, private_key, private_key_file or agent = true")
  end
  if o.passphrase and not o.key then misuse("a passphrase is for private_key or private_key_file") end
  for _, secret in pairs { o.password or false, o.key or false, o.passphrase or false } do
    if secret and #secret >= 4 then log.secret(secret) end
  end
  local known <const> = check(opts, "known_hosts", "string")
  o.pins, o.revoked = {}, {}
  if known then
    o.pins, o.revoked = keys.known_hosts(known, o.host, o.port)
    o.known_hosts = known
  end
  if opts.host_key ~= nil then
    for _, p in ipairs(keys.pins(opts.host_key)) do o.pins[#o.pins + 1] = p end
  end
  o.label = string.format("%s@%s:%d", printable(o.username), printable(o.host), o.port)
  return o
end

---- steps ----

-- Turns nil, name, text of a step of garun.core.sftp into an error.
local function step(o, s, ok, name, text, what)
  if ok then return end
  local hello <const> = keys.hello(s:hello())
  if name == "TIMEOUT" then
    fail { code = "TIMEOUT", retryable = true, detail = text,
           message = string.format("%s: no answer within connect_timeout = %g s (%s)", o.label, o.connect_timeout, what),
           hint = "check host and port; a larger connect_timeout helps when the server is only slow" }
  end
  local first <const> = hello.line
  if not hello.ssh and first and first ~= "" then
    fail { code = "NOT_SSH", retryable = first:find("MaxStartups", 1, true) ~= nil,
           message = string.format("%s: what answers there is no SSH server; it says '%s'", o.label,
             printable(first:sub(1, 200))),
           hint = "check host and port" }
  end
  if name == "KEX_FAILURE" then
    local only_rsa <const> = hello.host_key and not hello.host_key:find("ed25519", 1, true)
      and not hello.host_key:find("ecdsa", 1, true)
    fail { code = "KEX_FAILURE",
           message = string.format("%s: no common key exchange, host key, cipher or MAC with this server", o.label),
           detail = hello.kex and string.format("the server (%s) offers host keys %s; key exchange %s; ciphers %s; MACs %s",
             printable(first), printable(hello.host_key), printable(hello.kex), printable(hello.cipher),
             printable(hello.mac)) or text,
           hint = only_rsa and "the server has RSA host keys only, which the SSH library of this system (libssh2 1.10) can "
             .. "check with SHA-1 only; let its operator add a key: `ssh-keygen -t ed25519 -f /etc/ssh/ssh_host_ed25519_key`"
             or "this side knows curve25519, ecdh, dh-sha2; aes-ctr; hmac-sha2 without -etm" }
  end
  local cut <const> = name == "CUT" or name == "BANNER_RECV"
  fail { code = cut and "CUT" or name, retryable = cut,
         message = string.format(cut and "%s: the server ended the connection (%s)" or "%s: %s failed", o.label, what),
         detail = text ~= "" and "libssh2: " .. text or nil,
         hint = cut and "see the log of the server; it may limit addresses or the number of connections" or nil }
end

local function dial(o, s, deadline)
  local list <const> = core.resolve(o.host)
  for i, address in ipairs(list) do
    local left <const> = deadline - clock.monotonic()
    if left <= 0 then break end
    -- An address that does not answer must leave time for the next one.
    local ok <const>, err = pcall(s.dial, s, address, o.port, i < #list and left / 2 or left, left)
    if ok then return end
    if i == #list or not errors.is(err, "sftp") then error(err, 0) end
  end
  fail { code = "TIMEOUT", retryable = true, hint = "check host, port and the firewalls between",
         message = string.format("%s: no answer within connect_timeout = %g s", o.label, o.connect_timeout) }
end

-- Makes the connection up to the key exchange; gives the session and the key that the host has shown.
local function meet(o, deadline, not_again)
  local s <const> = core.new(o.label, o.connect_timeout)
  local guard <close> = setmetatable({}, { __close = function(_, err) if err ~= nil then s:close() end end })
  dial(o, s, deadline)
  local ok <const>, name <const>, text <const> =
    s:handshake(table.concat(keys.order(o.pins, not_again), ","), o.compression)
  if not ok and not_again and name == "KEX_FAILURE" then
    s:close()
    return nil
  end
  step(o, s, ok, name, text, "key exchange")
  return s, s:host_key()
end

local function unknown(o, blob)
  local shown <const> = keys.fingerprint(blob)
  local where <const> = o.known_hosts and string.format("%s has no key of this host", printable(o.known_hosts))
    or "neither host_key nor known_hosts is given"
  fail { code = "HOST_KEY_UNKNOWN",
         message = string.format("%s: the host's key is not known: %s. The server shows %s (%s)", o.label, where, shown,
           printable(keys.type(blob))),
         detail = "nothing was sent to it: no user name, no password",
         hint = string.format("ask the operator of the server whether that is its fingerprint (`ssh-keygen -lf "
           .. "/etc/ssh/ssh_host_ed25519_key.pub`), then write host_key = \"%s\"", shown) }
end

local function changed(o, shown)
  local seen <const> = {}
  for _, blob in ipairs(shown) do
    seen[#seen + 1] = keys.fingerprint(blob) .. " (" .. printable(keys.type(blob)) .. ")"
  end
  fail { code = "HOST_KEY_CHANGED",
         message = string.format("%s: THE HOST'S KEY IS NOT THE ONE THAT WAS PINNED: expected %s, the server shows %s",
           o.label, keys.describe(o.pins), table.concat(seen, ", ")),
         detail = "nothing was sent to it: no user name, no password",
         hint = "somebody may be listening in between, or the server has got new keys; ask its operator, and only then "
           .. (o.known_hosts and "change " .. printable(o.known_hosts) or "change host_key") }
end

-- Whether a pin may belong to a key of a type that was not shown yet; a fingerprint does not tell its type.
local function more(pins, shown_types)
  for _, p in ipairs(pins) do
    if not p.type or not shown_types[p.type] then return #keys.order(pins, shown_types) > 0 end
  end
  return false
end

-- A server shows one key only: it is asked again without the types that it has shown, until one matches.
local function meet_trusted(o, deadline)
  local shown <const>, not_again <const> = {}, {}
  local s, blob = meet(o, deadline)
  while s do
    if o.revoked[blob] then
      s:close()
      fail { code = "HOST_KEY_REVOKED", message = string.format("%s: the host's key %s is marked @revoked in %s", o.label,
        keys.fingerprint(blob), printable(o.known_hosts)) }
    end
    if #o.pins > 0 and keys.match(o.pins, blob) then
      s:trust()
      return s
    end
    s:close()
    if #o.pins == 0 then unknown(o, blob) end
    shown[#shown + 1] = blob
    not_again[keys.type(blob)] = true
    if not more(o.pins, not_again) then break end
    s, blob = meet(o, deadline, not_again)
  end
  changed(o, shown)
end

---- authentication ----

-- Tries what the script gave, in this order; a server may want two of them.
local function authenticate(o, s)
  local ok, offered, why = s:auth_list(o.username)
  step(o, s, ok, offered, why, "authentication")
  if offered == nil then return end
  local tried <const>, rsa, texts = {}, false, {}
  local function offers(name) return ("," .. offered .. ","):find("," .. name .. ",", 1, true) ~= nil end
  local function attempt(name, done, code, text)
    tried[#tried + 1] = name
    if done then return true end
    if code == "CUT" or code == "TIMEOUT" then step(o, s, done, code, text, "authentication") end
    texts[#texts + 1] = text
    if code == "KEY_FILE" or code == "METHOD_NOT_SUPPORTED" then
      fail { code = "KEY_FILE", message = string.format("%s: the private key %s cannot be used", o.label, o.key_name or ""),
             detail = text ~= "" and "libssh2: " .. text or nil,
             hint = o.passphrase and "is the passphrase right?"
               or "is it locked? then pass its passphrase; else make one with `ssh-keygen -t ed25519`" }
    end
    return false
  end
  if o.key and offers "publickey" then
    rsa = keys.private_type(o.key, o.passphrase) == "rsa"
    if attempt("private key", s:auth_key(o.username, o.key, o.passphrase)) then return end
  end
  if o.agent and offers "publickey" then
    local done <const>, taken <const>, count <const>, n_rsa <const> =
      s:auth_agent(o.username, type(o.agent) == "string" and o.agent or nil)
    if not done and taken == "AGENT" then
      fail { code = "AGENT", message = string.format("%s: no SSH agent answers", o.label),
             hint = "start one (`eval $(ssh-agent)`, `ssh-add`); its socket is named by SSH_AUTH_SOCK" }
    end
    if not done then
      attempt("agent", done, taken, count)
    elseif taken then
      return
    else
      rsa = rsa or n_rsa > 0
      tried[#tried + 1] = string.format("agent (%d keys, %d of them RSA)", count, n_rsa)
    end
  end
  -- After a first factor that it took the server names the second one.
  if o.password and #tried > 0 and not offers "password" and not offers "keyboard-interactive" then
    ok, offered, why = s:auth_list(o.username)
    step(o, s, ok, offered, why, "authentication")
    if offered == nil then return end
  end
  if o.password and offers "password" then
    if attempt("password", s:auth_password(o.username, o.password)) then return end
  elseif o.password and offers "keyboard-interactive" then
    if attempt("password, asked for interactively", s:auth_prompts(o.username, o.password)) then return end
  end
  fail { code = "AUTH_FAILED",
         message = string.format("%s: the server does not let this user in; tried: %s; it takes: %s", o.label,
           #tried > 0 and table.concat(tried, ", ") or "nothing of what was given", printable(offered)),
         detail = #texts > 0 and texts[#texts] ~= "" and "libssh2: " .. texts[#texts] or nil,
         hint = rsa and RSA_HINT or o.key and "is the key's .pub in the server's authorized_keys, and its file "
           .. "writable by that user only? is the user name right?" or "check user name and password" }
end

-- An open garun.core.sftp session, and the timeout that it shall have once it has greeted.
function M.open(opts)
  local o <const> = settle(opts)
  local s <const> = meet_trusted(o, clock.monotonic() + o.connect_timeout)
  local guard <close> = setmetatable({}, { __close = function(_, err) if err ~= nil then s:close() end end })
  authenticate(o, s)
  local ok <const>, name <const>, text <const> = s:open()
  if not ok and name ~= "TIMEOUT" and name ~= "CUT" then
    fail { code = "NO_SFTP", message = string.format("%s: the server has no SFTP for this user", o.label),
           detail = text ~= "" and "libssh2: " .. text or nil,
           hint = "sshd_config needs `Subsystem sftp internal-sftp`" }
  end
  step(o, s, ok, name, text, "start of SFTP")
  return s, o.timeout
end

return M
