-- garun.fault: named places where the fault tests stop the process dead. Does nothing outside `garun test`.

local host <const> = require "garun.core.host"

local wanted <const> = host.getenv("GARUN_TEST") and host.getenv("GARUN_TEST_FAULT")

-- Kills this process with SIGKILL when GARUN_TEST_FAULT names the point; "point:3" means the third time.
local name, count = (wanted or ""):match("^([%w_]+):?(%d*)$")
count = tonumber(count) or 1

return function(point)
  if point ~= name then return end
  count = count - 1
  if count == 0 then host.kill(require("garun.proc").pid(), 9) end
end
