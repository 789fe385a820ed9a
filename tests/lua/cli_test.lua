local fs <const> = require "garun.fs"
local proc <const> = require "garun.proc"
local t <const> = require "garun.test"
local host <const> = require "garun.core.host"

local function garun(args)
  table.insert(args, 1, "garun")
  return t.run(args)
end

local function script(text)
  local path <const> = t.tmpdir() .. "/s.lua"
  fs.write(path, text)
  return path
end

t.test("-e runs code in order, before the script, and sees its globals", function()
  local path <const> = script "print(x, ...)"
  local r <const> = garun { "-e", "x = 1", "-ex = x + 1", path, "a", "b" }
  t.equal(r.stdout, "2\ta\tb\n")
  t.equal(r.status, 0)
end)

t.test("arg is built as lua builds it", function()
  local path <const> = script "print(arg[-2], arg[-1], arg[0] == ARG0, arg[1], #arg)"
  local r <const> = garun { "-e", "ARG0=" .. string.format("%q", path), path, "one" }
  t.equal(r.stdout, "-e\tARG0=" .. string.format("%q", path) .. "\ttrue\tone\t1\n")
end)

t.test("-l requires a module as a global, also under another name", function()
  t.equal(garun({ "-l", "garun.json", "-e", "print(json.encode{1})" }).stdout, "[1]\n")
  t.equal(garun({ "-l", "J=garun.json", "-e", "print(J.encode{2})" }).stdout, "[2]\n")
end)

t.test("- and a pipe read the script from standard input; -- ends options", function()
  t.equal(garun({ "-", "x", stdin = "print('in', ...)" }).stdout, "in\tx\n")
  t.equal(garun({ stdin = "print('piped')" }).stdout, "piped\n")
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/-odd.lua", "print('odd')")
  t.equal(garun({ "--", "-odd.lua", cwd = dir }).stdout, "odd\n")
end)

t.test("a #! line is skipped and line numbers stay right", function()
  local path <const> = script "#!/usr/bin/env garun\nerror('here')"
  local r <const> = garun { path }
  t.equal(r.status, 1)
  t.match(r.stderr, "s.lua:2: here")
  t.match(r.stderr, "stack traceback")
end)

t.test("a script is looked up in ./scripts", function()
  local dir <const> = t.tmpdir()
  fs.mkdir(dir .. "/scripts")
  fs.write(dir .. "/scripts/hello.lua", "print 'from scripts'")
  t.equal(garun({ "hello.lua", cwd = dir }).stdout, "from scripts\n")
end)

t.test("-v and -h print to standard output and succeed", function()
  t.match(garun({ "-v" }).stdout, "^garun %d+%.%d+%.%d+  Lua 5.4")
  local r <const> = garun { "-h" }
  t.match(r.stdout, "^usage: garun")
  t.equal(r.status, 0)
end)

t.test("what is unknown is an error with exit code 2 and a suggestion", function()
  local r = garun { "-x" }
  t.equal(r.status, 2)
  t.match(r.stderr, "unknown option %-x")
  r = garun { "tset" }
  t.equal(r.status, 2)
  t.match(r.stderr, "did you mean 'garun test'")
  r = garun { "nowhere.lua" }
  t.equal(r.status, 2)
  t.match(r.stderr, "nowhere.lua")
  t.equal(garun({ "-e" }).status, 2)
end)

t.test("a syntax error names file and line", function()
  local r <const> = garun { script "x = = 1" }
  t.equal(r.status, 2)
  t.match(r.stderr, "s.lua:1: unexpected symbol")
end)

t.test("an uncaught error in a task ends the script with a stitched traceback", function()
  local r <const> = garun { script [[
    local task = require "garun.task"
    local function deep() task.sleep(0.001) error("from below") end
    local function iterate() for _ in coroutine.wrap(deep) do end end
    task.spawn(iterate):join()
  ]] }
  t.equal(r.status, 1)
  t.match(r.stderr, "^garun: [^\n]*s.lua:2: from below")
  t.match(r.stderr, "s.lua:2: in .*s.lua:3: in .*s.lua:4: in main chunk", "all three levels")
end)

t.test("os.exit ends with its code; a script's result does not", function()
  t.equal(garun({ "-e", "os.exit(7)" }).status, 7)
  t.equal(garun({ script "return 7" }).status, 7)
end)

local function interrupted(code, signal)
  local path <const> = script([[
    local task = require "garun.task"
    local c <close> = setmetatable({}, { __close = function() task.sleep(0.001) print "closed" end })
    print "ready" io.flush()
  ]] .. code)
  local p <close> = proc.spawn { host.exe(), path, stdout = "pipe", stderr = "pipe" }
  local out, more <const> = "", p:stdout()
  while not out:find("ready") do out = out .. more() end
  p:kill(signal)
  for chunk in more do out = out .. chunk end
  return p:wait(10), out
end

t.test("SIGINT and SIGTERM run <close> blocks: in a wait, and in a loop that never waits", function()
  for _, code in ipairs { "task.sleep(60)", "while true do end", "for _ in coroutine.wrap(function() while true do end end) do end" } do
    local r, out = interrupted(code, "INT")
    t.equal(out, "ready\nclosed\n", code)
    t.equal(r.status, 130, code)
    r, out = interrupted(code, "TERM")
    t.equal(out, "ready\nclosed\n", code)
    t.equal(r.status, 143, code)
  end
end)

t.test("a second signal ends at once what the first could not", function()
  local path <const> = script [[
    local task = require "garun.task"
    local function wait() print "ready" io.flush() task.sleep(60) end
    while true do
      pcall(wait)
      print "caught" io.flush()
    end
  ]]
  local p <close> = proc.spawn { host.exe(), path, stdout = "pipe" }
  local out, more <const> = "", p:stdout()
  while not out:find("ready") do out = out .. more() end
  p:kill("INT")
  while not out:find("caught") do out = out .. more() end
  p:kill("INT")
  t.equal(p:wait(10).signal, "SIGINT")
end)

t.test("configuration: unknown names, bad values and bad lines are refused", function()
  local r = garun { "-e", "", env = { POSTGRES_HOTS = "x" } }
  t.match(r.stderr, "POSTGRES_HOTS is no variable.*did you mean POSTGRES_HOST")
  t.ok(r.status ~= 0)
  r = garun { "-e", "", env = { POSTGRES_PORT = "70000" } }
  t.match(r.stderr, "POSTGRES_PORT must be an integer from 1 to 65535")
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/.env", "# comment\nPOSTGRES_HOST=db\nexport POSTGRES_PORT = 6432 # here\nNONSENSE=1\n")
  r = garun { "-e", "", cwd = dir }
  t.match(r.stderr, ".env:4: NONSENSE")
  fs.write(dir .. "/.env", "POSTGRES_HOST\n")
  t.match(garun({ "-e", "", cwd = dir }).stderr, ".env:1: the line is no NAME=value")
  t.match(garun({ "--env", dir .. "/nope", "-e", "" }).stderr, "cannot be read")
end)

t.test("configuration: quotes, comments and precedence", function()
  local dir <const> = t.tmpdir()
  fs.write(dir .. "/e", "POSTGRES_HOST=\"a \\\"b\\\"\"\nexport POSTGRES_USER='x # y' # comment\nPOSTGRES_PORT=1\r\nPOSTGRES_DATABASE=d#e # f\n")
  local r <const> = garun { "--env", dir .. "/e", "-e",
    "c = require 'garun.config' print(c.get 'POSTGRES_HOST', c.get 'POSTGRES_USER', c.get 'POSTGRES_PORT', c.get 'POSTGRES_DATABASE')",
    env = { POSTGRES_PORT = "2" } }
  t.equal(r.stdout, "a \"b\"\tx # y\t2\td#e\n")
end)

t.test("LUA_PATH and LUA_INIT of the caller are ignored", function()
  local r <const> = garun { "-e", "print(package.path:find('evil'))", env = { LUA_PATH = "/evil/?.lua", LUA_INIT = "print 'init'" } }
  t.equal(r.stdout, "nil\n")
end)

t.test("cjson is there for scripts that expect it", function()
  t.equal(garun({ "-e", "print(require('cjson').encode{1})" }).stdout, "[1]\n")
end)

t.test("the prompt prints expressions, joins lines, survives errors and waits", function()
  local r <const> = garun { "-i", stdin = "1+1\n=2+2\nfor i=1,2 do\nprint(i)\nend\nerror('x')\nrequire('garun.task').sleep(0.001)\n'end'\n" }
  t.equal(r.status, 0)
  t.match(r.stdout, "2\n.*4\n.*1\n2\n.*end\n")
  t.match(r.stderr, "x")
end)

t.test("standard output that is closed is an error, not a signal", function()
  local r <const> = t.run { "/bin/sh", "-c", host.exe() .. " -e 'for i=1,100000 do print(i) end' | head -n 1" }
  t.equal(r.stdout, "1\n")
end)

t.test("an installed garun finds its files and keeps its state where its user may write", function()
  local root <const> = require("garun.config").root()
  local dir <const> = t.tmpdir()
  fs.mkdir(dir .. "/bin")
  fs.mkdir(dir .. "/lib/garun", { parents = true })
  fs.mkdir(dir .. "/share/garun", { parents = true })
  local copied <const> = t.run { "/bin/sh", "-c", 'cp "$0" "$2/bin/garun" && cp "$1" "$2/lib/garun/garun-worker" && '
    .. 'cp -R "$3/scripts" "$3/sql" "$2/share/garun/"', host.exe(), host.worker(), dir, root }
  t.equal(copied.status, 0, copied.stderr)
  local r <const> = t.run { dir .. "/bin/garun", "-e", "local h, c = require 'garun.core.host', require 'garun.config' "
    .. "print(c.root(), h.worker(), c.var())", cwd = "/", env = { GARUN_VAR = false, XDG_STATE_HOME = dir .. "/state" } }
  local var <const> = proc.uid() == 0 and "/var/lib/garun" or dir .. "/state/garun"
  t.equal(r.stdout, string.format("%s/share/garun\t%s/lib/garun/garun-worker\t%s\n", dir, dir, var), r.stderr)
end)
