-- garun.main: the command line. Called by main.c in the first task with argv; returns the exit code.
--
-- Behaves as lua.c where both have a thing: options are read before anything runs, -e and -l run in order, then the
-- script, then -i. What garun adds: commands (garun db start), scripts looked up in scripts/, .env, waiting everywhere.

local host <const> = require "garun.core.host"
local errors <const> = require "garun.error"
require "garun.prelude"

local usage <const> = [==[
usage: garun [options] [SCRIPT.lua [args]]     run a script: a path, else from ./scripts, else the installed ones
       garun COMMAND [args]                    run a command; `garun help` lists them
       garun                                   read Lua from the terminal

  -e CODE       run CODE (may be repeated; before the script)
  -l MOD        require MOD as global MOD; -l G=MOD as global G
  -i            read Lua from the terminal after the script
  -v            print versions
  -h            this text
  -             the script is standard input
  --            end of options
  --env FILE    read configuration from FILE instead of ./.env
]==]

local function fail_usage(message)
  error(errors.new { kind = "usage", message = message, hint = "garun -h lists the options" }, 0)
end

-- Reads argv into { actions, script index, interactive, version, env }; runs nothing.
local function parse(argv)
  local opts <const> = { actions = {} }
  local i = 1
  local function operand(name)
    i = i + 1
    if argv[i] == nil then fail_usage("option " .. name .. " needs an operand") end
    return argv[i]
  end
  while argv[i] do
    local a <const> = argv[i]
    if a == "-" or a:sub(1, 1) ~= "-" then break end
    if a == "--" then
      i = i + 1
      break
    elseif a == "-i" then opts.interactive, opts.version = true, true
    elseif a == "-v" or a == "--version" then opts.version = true
    elseif a == "-h" or a == "--help" then opts.help = true
    elseif a == "--env" then opts.env = operand(a)
    elseif a:match("^%-%-env=") then opts.env = a:sub(7)
    elseif a:match("^%-[el]") then
      local kind <const> = a:sub(2, 2)
      opts.actions[#opts.actions + 1] = { kind, #a > 2 and a:sub(3) or operand(a) }
      opts.ran = true
    else
      fail_usage("unknown option " .. a)
    end
    i = i + 1
  end
  opts.script = i
  return opts
end

-- arg as lua.c makes it: arg[0] is the script, positive its arguments, negative what came before.
local function set_arg(argv, script)
  local arg <const> = {}
  for i, a in pairs(argv) do arg[i - script] = a end
  _G.arg = arg
end

local function read_all(path)
  if path == "-" then
    local fs <const> = require "garun.fs"
    local parts <const> = {}
    for chunk in fs.source("-") do parts[#parts + 1] = chunk end
    return table.concat(parts), "=stdin"
  end
  local file <close>, why = io.open(path, "rb")
  local text = file and file:read("a")
  if not text then fail_usage("cannot read the script " .. tostring(why or path)) end
  return text, "@" .. path
end

local function compile(text, chunkname)
  -- A first line that starts with # is for the kernel; its line end stays, so that line numbers are right.
  local fn <const>, err <const> = load(text:gsub("^#[^\n]*", "", 1), chunkname, "t")
  if not fn then error(errors.new { kind = "usage", message = err }, 0) end
  return fn
end

local function exists(path)
  local file <close> = io.open(path, "rb")
  return file ~= nil
end

local function find_script(name)
  if name == "-" or exists(name) then return name end
  if not name:match("^%.?%.?/") then
    for _, dir in ipairs { "scripts", host.root() .. "/scripts" } do
      if exists(dir .. "/" .. name) then return dir .. "/" .. name end
    end
  end
  return nil
end

local function set_paths(script)
  local dir <const> = script and script ~= "-" and (script:match("^(.*)/[^/]*$") or ".") or "."
  local root <const> = host.root()
  package.path = table.concat({ dir .. "/?.lua", dir .. "/?/init.lua", root .. "/scripts/?.lua",
    root .. "/scripts/?/init.lua", "/usr/local/share/lua/5.4/?.lua", "/usr/share/lua/5.4/?.lua" }, ";")
  local plugins <const> = host.plugins()
  package.cpath = (plugins and plugins .. "/?.so;" or "")
    .. "/usr/local/lib/lua/5.4/?.so;/usr/lib/x86_64-linux-gnu/lua/5.4/?.so;/usr/lib/lua/5.4/?.so"
end

-- What main.c prints as versions goes to standard output, as `lua -v` does.
local function print_version()
  print("garun " .. host.version .. "  " .. _VERSION .. " " .. host.libraries())
end

local function run_script(argv, index)
  local name <const> = argv[index]
  local path <const> = find_script(name)
  local args <const> = table.pack(table.unpack(argv, index + 1))
  if not path then
    local command <const> = not name:match("[./]") and package.preload["garun.command." .. name]
    if command then
      set_paths(nil)
      return require("garun.command." .. name)(table.unpack(args, 1, args.n))
    end
    local commands <const> = require("garun.help").commands()
    local near <const> = errors.nearest(name, commands)
    error(errors.new { kind = "usage",
      message = string.format("no script and no command is called '%s'", name),
      hint = (near and "did you mean 'garun " .. near .. "'? " or "")
        .. "scripts are looked up as given, in ./scripts and in " .. host.root() .. "/scripts" }, 0)
  end
  set_paths(path)
  return compile(read_all(path))(table.unpack(args, 1, args.n))
end

return function(argv)
  local opts <const> = parse(argv)
  if opts.help then
    io.write(usage)
    return 0
  end
  if opts.version then print_version() end
  set_arg(argv, argv[opts.script] and opts.script or 0)
  require("garun.config").load(opts.env)
  set_paths(nil)
  for _, action in ipairs(opts.actions) do
    if action[1] == "e" then
      compile(action[2], "=(command line)")()
    else
      local global <const>, name <const> = action[2]:match("^([^=]*)=(.*)$")
      _G[global or action[2]:match("[^.]*$")] = require(name or action[2])
    end
  end
  local code
  if argv[opts.script] then
    code = run_script(argv, opts.script)
  elseif not (opts.ran or opts.version) and not host.isatty(0) then
    argv[opts.script] = "-"
    code = run_script(argv, opts.script)
  end
  if opts.interactive or not (argv[opts.script] or opts.ran or opts.version) then
    require("garun.prompt")()
  end
  -- A command's integer is its exit code; what a script returns is its own affair.
  return math.type(code) == "integer" and code or 0
end
