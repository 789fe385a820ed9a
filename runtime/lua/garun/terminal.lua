-- garun.terminal: what scripts need to write tables to a terminal: text measured in columns, cut and padded, numbers, bars,
-- whether there are colours and how wide it is. Strangers' text goes through garun.printable first.

local host <const> = require "garun.core.host"
local printable <const> = require "garun.printable"
local proc <const> = require "garun.proc"

local terminal <const> = {}

-- Ranges that take two columns: East Asian wide and full-width characters, emoji (Unicode, UAX #11). Bounds in pairs.
local WIDE <const> = { 0x1100, 0x115f, 0x2e80, 0x303e, 0x3041, 0x33ff, 0x3400, 0x4dbf, 0x4e00, 0x9fff, 0xa000, 0xa4cf,
  0xac00, 0xd7a3, 0xf900, 0xfaff, 0xfe30, 0xfe6f, 0xff00, 0xff60, 0xffe0, 0xffe6, 0x1f300, 0x1f64f, 0x1f680, 0x1f6ff,
  0x1f900, 0x1f9ff, 0x20000, 0x3fffd }
-- ... and none: combining marks and variation selectors.
local ZERO <const> = { 0x300, 0x36f, 0x483, 0x489, 0x591, 0x5bd, 0x610, 0x61a, 0x64b, 0x65f, 0x1ab0, 0x1aff, 0x1dc0,
  0x1dff, 0x20d0, 0x20ff, 0xfe00, 0xfe0f, 0xfe20, 0xfe2f, 0x1f3fb, 0x1f3ff }

local function within(ranges, c)
  for i = 1, #ranges, 2 do
    if c >= ranges[i] and c <= ranges[i + 1] then
      return true
    end
  end
  return false
end

local function columns_of(c)
  if c < 0x300 then
    return 1
  end
  return within(ZERO, c) and 0 or within(WIDE, c) and 2 or 1
end

--- Columns that a printable text takes.
function terminal.width(text)
  local n = 0
  for _, c in utf8.codes(text) do
    n = n + columns_of(c)
  end
  return n
end

--- The text in exactly that many columns: cut with an ellipsis or filled up on the right, on the left with right =
--- true.
---@param text string    printable text
---@param columns integer
---@param right? boolean
function terminal.fit(text, columns, right)
  local width <const> = terminal.width(text)
  if width <= columns then
    local fill <const> = (" "):rep(columns - width)
    return right and fill .. text or text .. fill
  end
  local out <const>, used = {}, 0
  for _, c in utf8.codes(text) do
    local w <const> = columns_of(c)
    if used + w > columns - 1 then
      break
    end
    out[#out + 1], used = utf8.char(c), used + w
  end
  return table.concat(out) .. "…" .. (" "):rep(columns - 1 - used)
end

local EIGHTHS <const> = { "▏", "▎", "▍", "▌", "▋", "▊", "▉" }

--- A bar of value/largest of the columns, to an eighth of a column; anything above nothing can be seen.
function terminal.bar(value, largest, columns)
  if value <= 0 or largest <= 0 or columns < 1 then
    return ""
  end
  local eighths <const> = math.max(1, math.floor(value / largest * columns * 8 + 0.5))
  return ("█"):rep(eighths // 8) .. (EIGHTHS[eighths % 8] or "")
end

--- A number with separators: 1234567 -> "1,234,567"; also the text of one ("12345.5"), whose digits all stay.
function terminal.count(n)
  local text <const> = math.type(n) == "float" and ("%.0f"):format(n) or tostring(n)
  local sign <const>, whole <const>, rest <const> = text:match "^(%-?)(%d+)(%.?%d*)$"
  if not whole then
    return printable(text)
  end
  return sign .. whole:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", "") .. rest
end

--- Money with two decimals: 52120.5 or the database's exact "52120.5" -> "52,120.50". No currency: the events have none.
function terminal.money(value)
  local text <const> = math.type(value) == "float" and ("%.2f"):format(value) or tostring(value)
  local whole <const>, cents <const> = text:match "^(%-?%d+)%.?(%d*)$"
  if not whole then
    return printable(text)
  end
  return terminal.count(whole) .. "." .. (cents .. "00"):sub(1, 2)
end

--- Whether colours are wanted: a terminal, and nobody said no (https://no-color.org).
function terminal.colours()
  local no_color <const> = os.getenv "NO_COLOR"
  return host.isatty(1) and (no_color == nil or no_color == "") and os.getenv "TERM" ~= "dumb"
end

--- Columns of the terminal; 100 when the output is none.
function terminal.columns()
  local told <const> = math.tointeger(tonumber(os.getenv "COLUMNS"))
  if told and told > 0 then
    return told
  end
  if host.isatty(1) and host.isatty(0) then
    local ok <const>, r <const> = pcall(proc.run, { "stty", "size", stdin = "inherit", stderr = "null" })
    local wide <const> = ok and math.tointeger(tonumber(r.stdout:match("^%d+ (%d+)")))
    if wide and wide > 0 then
      return wide
    end
  end
  return 100
end

return terminal
