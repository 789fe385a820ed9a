-- garun.report: tells an uncaught error on standard error, in one place, with secrets redacted.

-- An error object prints its kind, message, detail and hint; a traceback follows where it helps: not for a script that
-- was interrupted, nor for errors that are a user's to mend (kind "usage", "config").
local quiet <const> = { usage = true, config = true, cancelled = true }

-- sysexits.h has no code for a guard that stopped a load; 75 is its EX_TEMPFAIL, "try again later".
local exit_codes <const> = { usage = 2, guard = 3 }

-- Returns the process's exit code.
return function(err, traceback)
  local errors <const> = require "garun.error"
  local text = "garun: " .. tostring(err)
  local kind <const> = errors.is(err) and err.kind or nil
  if traceback and not quiet[kind] then text = text .. "\n" .. traceback end
  local ok, log = pcall(require, "garun.log")
  if ok and log.redact then text = log.redact(text) end
  io.stderr:write(require "garun.printable"(text, true), "\n")
  return errors.is(err) and (err.exit_code or exit_codes[kind]) or 1
end
