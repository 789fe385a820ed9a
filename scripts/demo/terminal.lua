-- terminal: text that strangers wrote, on a terminal: made harmless, measured in columns, cut and padded; and bars.

local host <const> = require "garun.core.host"
local proc <const> = require "garun.proc"

local terminal <const> = {}

-- Code points that would change how the rest of the line looks: controls, bidirectional marks, invisible ones.
local function is_unsafe(c)
  return c < 0x20 or c >= 0x7f and c <= 0x9f or c == 0xad or c == 0x61c or c >= 0x200b and c <= 0x200f
    or c >= 0x2028 and c <= 0x202e or c >= 0x2060 and c <= 0x206f or c == 0xfeff or c >= 0xfff0 and c <= 0xfffb
    or c >= 0xe0000 and c <= 0xe007f
end

--- The text with everything that could act on a terminal shown as \u{1b} instead. Broken UTF-8 becomes U+FFFD.
---@param text string
---@return string
function terminal.safe(text)
  local out <const>, at = {}, 1
  while at <= #text do
    local stop = select(2, utf8.len(text, at))
    local piece <const> = text:sub(at, (stop or #text + 1) - 1)
    for _, c in utf8.codes(piece) do
      out[#out + 1] = is_unsafe(c) and ("\\u{%x}"):format(c) or utf8.char(c)
    end
    if not stop then
      break
    end
    out[#out + 1] = "\u{FFFD}"
    at = stop + 1
  end
  return table.concat(out)
end

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

--- Columns that a safe text takes.
function terminal.width(text)
  local n = 0
  for _, c in utf8.codes(text) do
    n = n + columns_of(c)
  end
  return n
end

--- The text in exactly that many columns: cut with an ellipsis or filled up on the right, on the left with right =
--- true.
---@param text string    safe text
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

--- Whole numbers with separators.
function terminal.count(n)
  local text, more = ("%d"):format(n), 1
  while more > 0 do
    text, more = text:gsub("^(%-?%d+)(%d%d%d)", "%1,%2")
  end
  return text
end

--- Money from the database's exact text: "52120.5" -> "$52,120.50".
function terminal.money(text)
  local sign <const>, whole <const>, cents <const> = tostring(text):match("^(%-?)(%d+)%.?(%d*)$")
  if not whole then
    return terminal.safe(tostring(text))
  end
  return sign .. "$" .. terminal.count(math.tointeger(tonumber(whole)) or 0) .. "." .. (cents .. "00"):sub(1, 2)
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
