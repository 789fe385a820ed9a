-- garun.sftp.keys: which host keys are the right ones (pins, known_hosts), what the server showed, and of which kind a
-- private key is.
--
-- A pin is { type =, blob = } of a public key line, or { sha256 = } of a fingerprint, whose type nobody knows.

local core <const> = require "garun.core.sftp"
local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local printable <const> = require "garun.printable"

local keys <const> = {}

-- What libssh2 1.10 can check, best first. It knows no rsa-sha2-256/512; ssh-rsa is refused by OpenSSH from 8.8 on.
keys.algorithms = { "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa" }

local MAX_FILE <const> = 16 << 20

local function misuse(fmt, ...)
  error(errors.new { kind = "usage", code = "option", message = string.format(fmt, ...) }, 0)
end

function keys.fingerprint(blob)
  return "SHA256:" .. (crypto.base64_encode(crypto.sha256(blob, "raw")):gsub("=+$", ""))
end

-- The type is the first string of the blob (RFC 4253, 6.6).
function keys.type(blob)
  local ok <const>, name = pcall(string.unpack, ">s4", blob)
  return ok and name or "unknown"
end

local function decode(text)
  local ok <const>, bytes = pcall(crypto.base64_decode, text)
  return ok and bytes or nil
end

local function pin(text)
  if type(text) ~= "string" then misuse("sftp.connect: host_key is a string or a list of them, not a %s", type(text)) end
  local sum <const> = text:match("^%s*SHA256:([%w+/]+)=?%s*$")
  if sum then
    local raw <const> = decode(sum .. ("="):rep(-#sum % 4))
    if raw and #raw == 32 then return { sha256 = raw } end
  end
  local kind <const>, body <const> = text:match("^%s*([%w@.-]+)%s+([%w+/]+=*)")
  local blob <const> = body and decode(body)
  if blob and keys.type(blob) == kind then return { type = kind, blob = blob } end
  misuse("sftp.connect: host_key '%s' is neither a fingerprint (\"SHA256:...\", as `ssh-keygen -lf` prints it) nor a "
    .. "public key (\"ssh-ed25519 AAAA...\")", printable(text:sub(1, 100)))
end

function keys.pins(option)
  local list <const> = {}
  for _, text in ipairs(type(option) == "table" and option or { option }) do list[#list + 1] = pin(text) end
  if #list == 0 then misuse("sftp.connect: the list host_key is empty") end
  return list
end

---- known_hosts, as sshd(8) describes it ----

-- A pattern of * and ? as a Lua pattern.
local function glob(pattern)
  return "^" .. pattern:gsub("[^%w*?]", "%%%0"):gsub("%*", ".*"):gsub("%?", ".") .. "$"
end

local function names(field, name)
  local salt <const>, sum <const> = field:match("^|1|([^|]+)|([^|]+)$")
  if salt then
    local raw <const>, want <const> = decode(salt), decode(sum)
    return raw ~= nil and want ~= nil and core.hashed_name(raw, name) == want
  end
  local found = false
  for part in field:gmatch("[^,]+") do
    local negated <const> = part:sub(1, 1) == "!"
    local pattern <const> = (negated and part:sub(2) or part):lower()
    if name:find(glob(pattern)) then
      if negated then return false end
      found = true
    end
  end
  return found
end

-- The pins of that host, and the blobs that are marked @revoked. Certificates are not supported: their lines are no pins.
function keys.known_hosts(path, host, port)
  local name <const> = port == 22 and host:lower() or string.format("[%s]:%d", host:lower(), port)
  local pins <const>, revoked <const> = {}, {}
  for line in fs.read(path, { max_bytes = MAX_FILE }):gmatch("[^\r\n]+") do
    local marker, rest = line:match("^%s*(@%S+)%s+(.*)$")
    rest = rest or line
    local field <const>, kind <const>, body <const> = rest:match("^%s*([^#%s]%S*)%s+(%S+)%s+([%w+/]+=*)")
    if field and marker ~= "@cert-authority" and names(field, name) then
      local blob <const> = decode(body)
      if blob and keys.type(blob) == kind then
        if marker == "@revoked" then
          revoked[blob] = true
        elseif not marker then
          pins[#pins + 1] = { type = kind, blob = blob }
        end
      end
    end
  end
  return pins, revoked, name
end

function keys.match(pins, blob)
  local sum <const> = crypto.sha256(blob, "raw")
  for _, p in ipairs(pins) do
    if p.blob == blob or p.sha256 == sum then return true end
  end
  return false
end

-- The algorithms to ask for: those of the pinned keys first, for a server shows one key only and it must be the one that
-- can be checked. Types in `not_again` were shown already and did not match.
function keys.order(pins, not_again)
  local first <const>, list <const> = {}, {}
  for _, p in ipairs(pins) do
    if p.type then first[p.type] = true end
  end
  for pass = 1, 2 do
    for _, name in ipairs(keys.algorithms) do
      if (first[name] ~= nil) == (pass == 1) and not (not_again and not_again[name]) then list[#list + 1] = name end
    end
  end
  return list
end

function keys.describe(pins)
  local list <const> = {}
  for _, p in ipairs(pins) do
    list[#list + 1] = p.blob and keys.fingerprint(p.blob) .. " (" .. p.type .. ")"
      or "SHA256:" .. crypto.base64_encode(p.sha256):gsub("=+$", "")
  end
  return table.concat(list, ", ")
end

---- what the server said before anything was agreed upon ----

local LISTS <const> = { "kex", "host_key", "cipher", "cipher_in", "mac", "mac_in" }

-- { line = first line, ssh = true when it is an SSH banner, kex = names, host_key = names, cipher = names, mac = names }
function keys.hello(bytes)
  local said <const> = { line = bytes:match("^[^\r\n]*") }
  local at <const> = (("\n" .. bytes):find("\nSSH%-[%d.]+%-"))
  if not at then return said end
  said.ssh = true
  local stop <const> = bytes:find("\n", at, true)
  if not stop then return said end
  said.line = bytes:sub(at, stop):match("^[^\r\n]*")
  -- RFC 4253, 6 and 7.1: length, padding, SSH_MSG_KEXINIT = 20, a cookie of 16 bytes, ten lists of names
  pcall(function()
    local pos
    if bytes:byte(stop + 6) ~= 20 then return end
    pos = stop + 1 + 4 + 1 + 1 + 16
    for _, name in ipairs(LISTS) do
      said[name], pos = string.unpack(">s4", bytes, pos)
    end
  end)
  return said
end

---- private keys ----

-- "rsa", "ec", "ed25519", "other", or nil when it cannot be told without the passphrase or at all.
function keys.private_type(text, passphrase)
  local body <const> = text:match("%-%-%-%-%-BEGIN OPENSSH PRIVATE KEY%-%-%-%-%-(.-)%-%-%-%-%-END")
  if not body then return core.key_type(text, passphrase) end
  -- PROTOCOL.key of OpenSSH: the public half is in clear
  local raw <const> = decode((body:gsub("%s+", "")))
  if not raw or raw:sub(1, 15) ~= "openssh-key-v1\0" then return nil end
  local ok <const>, blob = pcall(function()
    local _, _, _, _, public = string.unpack(">s4s4s4I4s4", raw, 16)
    return public
  end)
  if not ok then return nil end
  local name <const> = keys.type(blob)
  if name == "ssh-rsa" then return "rsa" end
  if name == "ssh-ed25519" then return "ed25519" end
  return name:match("^ecdsa%-") and "ec" or "other"
end

return keys
