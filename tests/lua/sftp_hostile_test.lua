-- SFTP servers that are old, odd or hostile: a Python program as the subsystem of a real sshd, so that only the packets
-- are wrong.

local fs <const> = require "garun.fs"
local sshd <const> = require "sshd"
local t <const> = require "garun.test"

-- A small SFTP server over one file of DATA bytes, without any extension. What MODE names is wrong.
local SERVER <const> = [==[
import os, struct, sys
mode = sys.argv[1]
data = bytes(i * 7 % 251 for i in range(300000))
inp, out = sys.stdin.buffer, sys.stdout.buffer
def send(kind, body, length=None):
    p = bytes([kind]) + body
    out.write(struct.pack('>I', len(p) if length is None else length) + p)
    out.flush()
def string(b): return struct.pack('>I', len(b)) + b
def attrs(size, kind=0o100644): return struct.pack('>IQII', 1 | 4 | 8, size, kind, 1)[:16] + struct.pack('>II', 1, 1)
def status(i, n): send(101, struct.pack('>II', i, n) + string(b'it is so') + string(b''))
listed = False
while True:
    head = inp.read(4)
    if len(head) < 4: break
    p = inp.read(struct.unpack('>I', head)[0])
    kind, i = p[0], struct.unpack('>I', p[1:5])[0]
    if kind == 1:
        send(2, struct.pack('>I', 3) + (string(b'x') if mode == 'version' else b''))
    elif mode == 'length': send(101, struct.pack('>I', i), 0xfffffff0)
    elif mode == 'tiny': send(101, b'', 2)
    elif mode == 'id': status(i + 77, 0)
    elif mode == 'status': send(101, struct.pack('>I', i) + b'\0')
    elif mode == 'type': send(250, struct.pack('>I', i))
    elif mode == 'attrs' and kind in (7, 17): send(105, struct.pack('>II', i, 0xf) + b'\0' * 5)
    elif mode == 'ended': sys.exit(0)
    elif kind in (7, 17): send(105, struct.pack('>I', i) + attrs(len(data)))
    elif kind in (3, 11): send(102, struct.pack('>I', i) + string(b'h' * (300 if mode == 'handle' else 200)))
    elif kind == 8: send(105, struct.pack('>I', i) + attrs(len(data) + (9 if mode == 'lies' else 0)))
    elif kind == 4: status(i, 0)
    elif kind == 5:
        at, n = struct.unpack('>QI', p[-12:])
        piece = data[at:at + min(n, 1000)]
        if mode == 'more' and at > 100000: piece = b'x' * (n + 1)
        if mode == 'refuse' and at > 100000: status(i, 4)
        elif piece or mode == 'empty': send(103, struct.pack('>I', i) + string(b'' if mode == 'empty' else piece))
        else: status(i, 1)
    elif kind == 12 and not listed:
        listed = True
        names = [b'../../../../tmp/evil'] if mode == 'names' else [b'.', b'..', b'ok']
        count = 1000000 if mode == 'count' else len(names)
        send(104, struct.pack('>II', i, count) + b''.join(string(x) + string(b'-rw') + attrs(1) for x in names))
    elif kind == 12: status(i, 1)
    else: status(i, 8)
]==]

local function start(mode)
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/server.py", SERVER)
  return sshd.start { subsystem = string.format("/usr/bin/python3 %s/server.py %s", dir, mode) }
end

local function data()
  local parts <const> = {}
  for i = 0, 299999 do parts[i + 1] = string.char(i * 7 % 251) end
  return table.concat(parts)
end

t.test("a plain version 3 server that answers with 1000 bytes at most", function()
  local srv <const> = start "plain"
  local s <close> = srv.connect()
  t.equal({ s.read_max, s.write_max }, { 32768, 32768 })
  s:get("f", srv.dir .. "/got")
  t.ok(fs.read(srv.dir .. "/got") == data(), "get")
  t.ok(s:get_string "f" == data(), "get_string")
  local names <const> = {}
  for e in s:list(".") do names[#names + 1] = e.name end
  t.equal(names, { "ok" })
  t.raises({ code = "SFTP_OP_UNSUPPORTED" }, s.mkdir, s, "d")
  local f <close> = s:open "f"
  t.equal(f:sync(), false)
end)

t.test("packets that lie end the session with code PROTOCOL", function()
  for _, mode in ipairs { "length", "tiny", "id", "status", "type" } do
    local srv <const> = start(mode)
    local s <close> = srv.connect()
    t.raises({ kind = "sftp", code = "PROTOCOL", retryable = false }, s.stat, s, "f")
    t.equal(s:status(), mode == "type" and "open" or "closed", mode)
  end
  t.raises({ kind = "sftp", code = "PROTOCOL" }, start("version").connect)
  local cut <const> = start "ended"
  local s <close> = cut.connect()
  t.raises({ kind = "sftp", code = "CUT" }, s.stat, s, "f")
end)

t.test("answers that are cut short, handles that are too long", function()
  local s <close> = start("attrs").connect()
  t.raises({ kind = "sftp", code = "PROTOCOL" }, s.stat, s, "f")
  local s2 <close> = start("handle").connect()
  t.raises({ kind = "sftp", code = "PROTOCOL" }, s2.open, s2, "f")
  local s3 <close> = start("count").connect()
  t.raises({ kind = "sftp", code = "PROTOCOL" }, function() for _ in s3:list(".") do end end)
end)

t.test("data that is longer than asked for, empty, refused, or ends before its size", function()
  for mode, code in pairs { more = "PROTOCOL", empty = "SFTP_BAD_MESSAGE", refuse = "SFTP_FAILURE", lies = "SHORT" } do
    local srv <const> = start(mode)
    local s <close> = srv.connect()
    local e <const> = t.raises({ kind = "sftp", code = code }, s.get, s, "f", srv.dir .. "/got")
    t.match(e.message, "session:get: f")
    if mode == "refuse" then t.match(e.detail, "it is so") end
    t.equal(fs.exists(srv.dir .. "/got"), false)
    if s:status() == "open" then
      t.raises({ kind = "sftp", code = code }, s.get_string, s, "f")
      t.raises({ kind = "sftp", code = code }, function() for _ in s:source "f" do end end)
    end
  end
end)

t.test("a name that leads out of the local directory is refused", function()
  local srv <const> = start "names"
  local s <close> = srv.connect()
  local to <const> = t.tmpdir()
  local e <const> = t.raises({ kind = "sftp", code = "UNSAFE_NAME" }, s.get_all, s, ".", to)
  t.match(e.message, "%.%./%.%./")
  t.equal(fs.list(to), {})
end)
