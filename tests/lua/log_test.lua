-- garun.log: records as other programs read them, and secrets that never get into one.
local t <const> = require "garun.test"
local fs <const> = require "garun.fs"
local json <const> = require "garun.json"
local log <const> = require "garun.log"

local exe <const> = require("garun.core.host").exe()

-- Runs code in a garun of its own; what it wrote to standard error.
local function stderr_of(code, env)
  local path <const> = t.tmpdir() .. "/s.lua"
  fs.write(path, "local log = require 'garun.log'\n" .. code)
  return t.run { exe, path, env = env }.stderr
end

local stamp <const> = "^time=%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ "

t.test("a record is one logfmt line with its fields in order", function()
  local out <const> = stderr_of [[log.info("day loaded", { rows = 12, day = "2024-01-05", seconds = 4.25,
    done = true, text = 'a "b" c', empty = "" })]]
  t.match(out, stamp)
  t.equal(out:gsub("^time=%S+ ", ""),
    'level=info msg="day loaded" day=2024-01-05 done=true empty="" rows=12 seconds=4.25 text="a \\"b\\" c"\n')
end)

t.test("as JSON it is one object that any parser reads", function()
  local out <const> = stderr_of([[log.warn("a\nb", { n = 12, f = 0.5, b = false, s = "12", inf = 1/0,
    bad = "x\xffy\0", level = "mine" })]],
    { GARUN_LOG_FORMAT = "json" })
  local r <const> = json.decode(out)
  t.match(r.time, "^%d%d%d%d%-%d%d%-%d%dT.*Z$")
  r.time = nil
  t.equal(r, { level = "warn", msg = "a\nb", n = 12, f = 0.5, b = false, s = "12", inf = "inf", bad = "x\u{fffd}y\0",
    level_ = "mine" })
  local _, lines <const> = out:gsub("\n", "")
  t.equal(lines, 1)
end)

t.test("nothing in a value can end the line, move the cursor or reorder the text", function()
  local hostile <const> = "a\nlevel=error msg=forged\r\27[2J\7\127\u{85}\u{202e}\u{2028}\u{200b}\u{feff}\u{e0041}\u{ad}"
  local code <const> = string.format("log.info(%q, { [%q] = %q, ok = 'gr\u{fc}n \u{1f600}' })", hostile,
    "k y\n\u{202e}=", hostile)
  for format,
    escapes in pairs { logfmt = "\\n.*\\r.*\\x1b%[2J\\x07\\x7f\\x85\\u202e\\u2028\\u200b\\ufeff\\U000e0041\\xad",
    json = "\\n.*\\r.*\\u001b%[2J\\u0007\\u007f\\u0085\\u202e\\u2028\\u200b\\ufeff\\udb40\\udc41\\u00ad" } do
    local out <const> = stderr_of(code, { GARUN_LOG_FORMAT = format })
    local _, lines <const> = out:gsub("\n", "")
    t.equal(lines, 1, format)
    t.ok(not out:find("[%z\1-\9\11-\31\127]"), "no control character is left in " .. out)
    for _, c in ipairs { "\u{85}", "\u{202e}", "\u{2028}", "\u{200b}", "\u{feff}", "\u{e0041}", "\u{ad}" } do
      t.ok(not out:find(c, 1, true))
    end
    t.match(out, escapes, format)
    t.match(out, "gr\u{fc}n \u{1f600}", "what can be read stays as it is")
    if format == "json" then t.equal(json.decode(out).msg, hostile) end
  end
end)

t.test("levels below the wanted one are not written", function()
  local code <const> = [[for _, l in ipairs { "debug", "info", "warn", "error" } do log[l](l) end print(log.level(),
    log.enabled "warn")]]
  local function levels(env)
    local found <const> = {}
    for l in stderr_of(code, env):gmatch("level=(%a+)") do found[#found + 1] = l end
    return table.concat(found, " ")
  end
  t.equal(levels(), "info warn error")
  t.equal(levels { GARUN_LOG_LEVEL = "debug" }, "debug info warn error")
  t.equal(levels { GARUN_LOG_LEVEL = "error" }, "error")
  t.raises({ kind = "log", code = "level" }, log.configure, { level = "loud" })
  t.raises("it is logfmt or json", log.configure, { format = "xml" })
end)

t.test("a logger carries its fields, and a record's own ones win", function()
  local out <const> = stderr_of [[
    local a <const> = log.with { tenant = "acme", n = 1 }
    local b <const> = a.with { n = 2, day = "d" }
    b.info("x", { day = "e", z = 1 })
    a.info("y")]]
  t.match(out, "msg=x n=2 tenant=acme day=e z=1\n")
  t.match(out, "msg=y n=1 tenant=acme\n$")
end)

t.test("secrets are replaced wherever they are", function()
  local canary <const> = "c4nary/p+ss w\u{f6}rd\""
  local out <const> = stderr_of(string.format([[
    local s = log.secret(%q)
    log.secret("c4nary/p+ss")                       -- a prefix of the other one
    log.secret("rd\"12345")                         -- overlaps its end
    log.info("user=x password=" .. s .. "12345 tail", { a = s, ["k" .. s] = 1, t = { s }, n = 98765432 })
    log.secret("98765432")
    log.info("n", { n = 98765432, url = "https://h/?p=c4nary%%2Fp%%2Bss%%20w%%C3%%B6rd%%22" })]], canary))
  t.ok(not out:find("c4nary", 1, true), out)
  t.ok(not out:find("12345", 1, true) and not out:find("w\u{f6}rd", 1, true), out)
  t.match(out, 'msg="user=x password=%*%*%* tail" a=%*%*%* k%*%*%*=1 n=98765432 t={%*%*%*}')
  t.match(out, 'msg=n n=%*%*%* url="https://h/%?p=%*%*%*"')
end)

t.test("a key of several lines is a secret line by line", function()
  local out <const> = stderr_of [[
    log.secret("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n" ..
      "BAQEFAASCBKcwggSjAgEAAo\n-----END PRIVATE KEY-----\n")
    log.info("second line is BAQEFAASCBKcwggSjAgEAAo and no more")]]
  t.match(out, 'msg="second line is %*%*%* and no more"')
end)

t.test("redact gives the same for any text, and short values are refused", function()
  t.equal(log.secret "s3cr3t-value", "s3cr3t-value")
  t.equal(log.redact "a s3cr3t-value b s3cr3t-valu", "a *** b s3cr3t-valu")
  t.equal(log.redact "", "")
  t.equal(log.redact "nothing in it", "nothing in it")
  t.raises({ kind = "log", code = "short" }, log.secret, "abc")
end)

t.test("an error object becomes a record with its parts as fields", function()
  local out <const> = stderr_of [[
    local _, e = pcall(require("garun.fs").open, "/nope/x")
    log.error(e, { day = 1 })]]
  t.match(out,
    'level=error msg="fs.open: /nope/x: [^"]*" kind=fs code=ENOENT detail="the directory /nope does not exist" .*day=1')
end)

t.test("any value can be logged, and a long one is cut", function()
  local out <const> = stderr_of [[
    local cyclic = {} cyclic.me = cyclic
    log.info(nil, { f = print, t = { 1, 2, x = { y = { z = 1 } } }, c = cyclic, [1] = "one",
      long = ("\u{e4}"):rep(10000) })
    local many = {} for i = 1, 200 do many["k" .. i] = i end
    log.info("many", many)]]
  t.match(out,
    "msg=nil 1=one c=\"{me=.*}\" f=\"function: .*\" long=\"[\u{e4}]+%.%.%. %(11808 bytes more%)\" " ..
    "t=\"{1, 2, x={y={z=1}}}\"")
  t.match(out, "msg=many .* more_fields=137\n$")
  t.raises("is a table", log.info, "x", "y")
  t.raises("value expected", log.info)
end)

t.test("each record is one write, so that lines of many processes do not mix", function()
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/s.lua", [[
    local log = require "garun.log"
    for i = 1, 300 do log.info(("x"):rep(500), { who = arg[1] }) end]])
  t.run { "sh", "-c", 'for i in 1 2 3 4; do "$0" "$1" $i 2>>"$2" & done; wait', exe, dir .. "/s.lua", dir .. "/log" }
  local n = 0
  for line in fs.lines(dir .. "/log") do
    n = n + 1
    t.match(line, "^time=%S+ level=info msg=x+ who=%d$")
  end
  t.equal(n, 1200)
end)

t.test("a log that cannot be written stops nothing, and the loss is told", function()
  if not fs.exists "/dev/full" then t.skip "no /dev/full" end
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/s.lua", [[
    local log = require "garun.log"
    for i = 1, 7 do log.info "lost" end
    print "still here"]])
  local r = t.run { "sh", "-c", '"$0" "$1" 2>/dev/full', exe, dir .. "/s.lua" }
  t.equal({ r.stdout, r.status }, { "still here\n", 0 })
  -- A pipe whose reader has stopped: records are dropped after a while, the next one that gets through tells how many.
  fs.write(dir .. "/p.lua", [[
    local log = require "garun.log"
    local text = ("x"):rep(8000)
    for i = 1, 9 do log.info(text) end
    io.stdout:write "go" io.stdout:flush()
    require("garun.task").sleep(0.5)
    log.info "after"]])
  r = t.run { "sh", "-c", [[
    mkfifo "$1/e" "$1/o"
    "$0" "$1/p.lua" 2<>"$1/e" >"$1/o" & exec 3<"$1/e"
    head -c 2 "$1/o" >/dev/null; timeout 2 cat <&3 | grep -o 'msg=after.*'; wait]], exe, dir }
  t.match(r.stdout, "^msg=after lost_lines=[1-9]\n$")
end)

t.test("a closed standard error is no reason to fail either", function()
  local path <const> = t.tmpdir() .. "/s.lua"
  fs.write(path, 'require("garun.log").info "nobody hears it" print "still here"')
  local r <const> = t.run { "sh", "-c", '"$0" "$1" 2>&-', exe, path }
  t.equal({ r.stdout, r.status }, { "still here\n", 0 })
end)
