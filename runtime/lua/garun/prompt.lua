-- garun.prompt: a plain prompt. A line is an expression, whose values are printed, or a statement; an unfinished one
-- goes on in the next line. Waiting works, other tasks run meanwhile.

local fs <const> = require "garun.fs"

local function lines()
  local source <const>, rest = fs.source("-"), ""
  return function()
    while true do
      local line <const>, after <const> = rest:match("^([^\n]*)\n(.*)$")
      if line then
        rest = after
        return line
      end
      local chunk <const> = source()
      if not chunk then
        if rest == "" then return nil end
        local last <const> = rest
        rest = ""
        return last
      end
      rest = rest .. chunk
    end
  end
end

local function compile(text)
  return load("return " .. text, "=stdin", "t") or load(text, "=stdin", "t")
end

-- The parser itself tells an unfinished chunk: its message ends with <eof>.
local function unfinished(text)
  local _, err = load(text, "=stdin", "t")
  return err ~= nil and err:match("<eof>$") ~= nil
end

local function show(ok, ...)
  if not ok then
    io.stderr:write(tostring((...)), "\n")
  elseif select("#", ...) > 0 then
    print(...)
  end
end

return function()
  local text
  local next_line <const> = lines()
  while true do
    io.write(text and ">> " or "> ")
    io.flush()
    local line <const> = next_line()
    if not line then break end
    text = text and text .. "\n" .. line or line:gsub("^=", "", 1)
    local fn <const>, err = compile(text)
    if fn then
      show(pcall(fn))
      text = nil
    elseif not unfinished(text) then
      err = select(2, load(text, "=stdin", "t")) or err
      io.stderr:write(err, "\n")
      text = nil
    end
  end
  io.write("\n")
end
