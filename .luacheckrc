-- luacheck: all Lua of the project. `make lint` runs it; nothing may be reported.
std = "lua54"
max_line_length = false    -- tests/lint.sh checks it for all languages
ignore = { "581" }         -- `not (x >= 0)` is how NaN is refused
codes = true
cache = false
read_globals = { "try" }   -- set by garun.prelude
exclude_files = { "build/**", "var/**" }

-- Annotation files declare functions without bodies.
files["runtime/meta"] = { ignore = { "2../.*" } }
files["plugins/xlsx/meta"] = { ignore = { "2../.*" } }
files["runtime/lua/garun/prelude.lua"] = { globals = { "require", "try" } }
-- The command line makes `arg` and the globals that -l asks for.
files["runtime/lua/garun/main.lua"] = { globals = { "arg" } }
-- Names that start with _ are there for their side effect.
files["tests/lua"] = { ignore = { "211/_.*", "512" } }   -- 512: leaving a loop early is what some tests are about
