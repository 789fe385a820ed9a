-- Plugins: found beside the executable, checked by version, and the page on writing one tells the truth.

local config <const> = require "garun.config"
local fs <const> = require "garun.fs"
local host <const> = require "garun.core.host"
local t <const> = require "garun.test"
local task <const> = require "garun.task"

local dir <const> = config.path "plugins"
local example <const> = t.ok(fs.read(dir .. "/README.md"):match("<!%-%- test: lines.c %-%->\n```c\n(.-)\n```"), "the example")

-- Compiles the example against a header and gives its .so.
local function build(include)
  local out <const> = t.tmpdir() .. "/lines.so"
  fs.write(fs.dirname(out) .. "/lines.c", example .. "\n")
  local r <const> = t.run { "sh", "-c", [[exec ${CC:-gcc} -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror -Wshadow -fPIC -shared \
    -fvisibility=hidden -I "$1" $(pkg-config --cflags lua5.4) "$2" -o "$3"]], "sh", include, fs.dirname(out) .. "/lines.c", out }
  t.equal({ r.status, r.stderr }, { 0, "" })
  return out
end

local function load(path)
  return t.ok(package.loadlib(path, "luaopen_lines"), "loadlib")
end

t.test("the page's example compiles with only the public header, counts, and fails as it should", function()
  local lines <const> = load(build(dir))()
  local path <const> = t.tmpdir() .. "/text"
  fs.write(path, ("x\n"):rep(12345))
  t.equal(lines.count(path), 12345)
  t.equal(lines.count(path, { max_bytes = 24690 }), 12345)
  t.match(t.raises({ kind = "lines", code = "size" }, lines.count, path, { max_bytes = 24689 }).message, "max_bytes = 24689")
  t.raises({ kind = "lines", code = "ENOENT" }, lines.count, path .. "x")
  t.match(t.raises({ kind = "usage" }, lines.count, path, { max_byte = 1 }).message, "did you mean 'max_bytes'")
  t.raises({ kind = "usage" }, lines.count, path, { max_bytes = "1" })
  t.raises({ kind = "task", code = "cannot_wait" }, function() table.sort({ 1, 2, 3 }, function() lines.count(path) end) end)
end)

t.test("a plugin's work lets other tasks run, and a cancelled one is disposed of when its thread is done", function()
  local lines <const> = load(build(dir))()
  local path <const> = t.tmpdir() .. "/fifo"
  t.equal(t.run({ "mkfifo", path }).status, 0)
  -- Opening a FIFO to read blocks its thread until somebody opens it to write: the task is cancelled meanwhile.
  t.after(function() fs.open(path, "r+"):close() end)
  local other = false
  local waiting <const> = task.spawn(function() return lines.count(path) end)
  task.spawn(function() other = true end):join()
  t.ok(other)
  waiting:cancel()
  t.raises({ kind = "cancelled" }, waiting.join, waiting)
  t.equal(lines.count "/dev/null", 0)
end)

t.test("a plugin of another ABI is refused in words", function()
  local include <const> = t.tmpdir()
  local header <const>, n <const> = fs.read(dir .. "/garun_plugin.h"):gsub("#define GARUN_PLUGIN_ABI %d+u", "#define GARUN_PLUGIN_ABI 99u")
  t.equal(n, 1)
  fs.write(include .. "/garun_plugin.h", header)
  t.raises("plugin 'lines' was built for plugin ABI 99, this garun %(" .. host.version .. "%) has %d+: rebuild", load(build(include)))
end)

t.test("a plugin in another Lua program says that it needs garun", function()
  local open <const> = load(build(dir))
  local registry <const> = debug.getregistry()
  local table_of <const> = registry["garun.plugin"]
  registry["garun.plugin"] = nil
  local ok <const>, err <const> = pcall(open)
  registry["garun.plugin"] = table_of
  t.equal(ok, false)
  t.match(err, "'lines' needs garun")
end)

t.test("make install puts plugins where the installed garun finds them, and the header beside", function()
  local prefix <const> = t.tmpdir()
  local make <const> = fs.dirname(host.exe()):match("/build$") and "build" or "build/asan"
  local r <const> = t.run { "make", "-s", "-C", config.root(), "-o", "all", "BUILD=" .. make, "PREFIX=" .. prefix, "install" }
  t.equal({ r.status, r.stderr }, { 0, "" })
  t.ok(fs.exists(prefix .. "/include/garun_plugin.h"))
  local code <const> = 'print(package.searchpath("xlsx", package.cpath), type(require("xlsx").open))'
  local got <const> = t.run { prefix .. "/bin/garun", "--env", "/dev/null", "-e", code, cwd = "/" }
  t.equal({ got.stdout, got.stderr }, { fs.realpath(prefix) .. "/lib/garun/plugins/xlsx.so\tfunction\n", "" })
end)

t.test("garun help knows the plugin", function()
  t.match(t.run({ "garun", "help", "xlsx" }).stdout, "xlsx.open%(source, opts%)")
  t.match(t.run({ "garun", "help", "xlsx.write" }).stdout, "Writes a workbook whole")
end)
