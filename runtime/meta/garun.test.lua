---@meta garun.test
--- Tests in Lua. A file NAME_test.lua calls test.test for each behaviour; `garun test` runs files in parallel, each in a
--- process of its own.
---
--- ```lua
--- local t <const> = require "garun.test"
--- t.test("an empty list has no sum", function() t.equal(sum {}, nil) end)
--- ```
local test = {}

--- Runs one test. The name says the behaviour, as a sentence.
---@async
---@param name string
---@param fn fun()
function test.test(name, fn) end

--- Deep comparison; 1 and 1.0 differ. Raises with the first difference.
---@param got any
---@param want any
---@param label? string
function test.equal(got, want, label) end

--- Raises unless value is true; gives it.
---@param value any
---@param label? string
---@return any
function test.ok(value, label) end

--- Raises unless text matches the Lua pattern.
---@param text string
---@param pattern string
---@param label? string
function test.match(text, pattern, label) end

--- Calls fn(...), which must raise: a text that matches the pattern, or an error object with these fields. Gives the error.
---@async
---@param want string|table
---@param fn function
---@param ... any
---@return any
function test.raises(want, fn, ...) end

--- Ends the running test as skipped.
---@param reason string
function test.skip(reason) end

--- Calls fn when the running test has ended, failed or not; last given, first called.
---@param fn fun()
function test.after(fn) end

--- A new directory, removed when the running test has ended.
---@return string
function test.tmpdir() end

--- proc.run with a time limit of 120 s; "garun" as the program is this binary.
---@async
---@param cmd table
---@return { status: integer?, signal: integer?, stdout: string, stderr: string }
function test.run(cmd) end

--- A fresh, empty database for the running test: settings for pg.connect.
---@async
---@return { host: string, port: integer, user: string, database: string }
function test.postgres() end

--- How many tests have passed, failed and been skipped so far.
---@return { passed: integer, failed: integer, skipped: integer }
function test.results() end

return test
