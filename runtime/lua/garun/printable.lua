-- garun.printable: text of strangers for a terminal. Nothing that a terminal obeys gets through: control characters, C1
-- controls, bidirectional marks and overrides, line separators, invisible characters, broken UTF-8. Line feeds and tabs
-- stay on request.

local function hex(c)
  return string.format("\\x%02X", c:byte())
end

local function hidden(n)
  return n >= 0x80 and n < 0xA0 or n == 0xAD or n == 0x61C or n >= 0x200B and n <= 0x200F or n >= 0x2028 and n <= 0x202E
    or n >= 0x2060 and n <= 0x206F or n == 0xFEFF or n >= 0xFFF0 and n <= 0xFFFB or n >= 0xE0000 and n <= 0xE007F
end

-- keep_lines: line feeds and tabs stay as they are.
return function(text, keep_lines)
  if not utf8.len(text) then text = text:gsub("[\x80-\xFF]", hex) end
  text = text:gsub("%c", function(c)
    if keep_lines and (c == "\n" or c == "\t") then return c end
    return hex(c)
  end)
  if not text:find("[\xC2\xD8\xE2\xEF\xF3]") then return text end      -- no lead byte of a hidden character
  return (text:gsub(utf8.charpattern, function(c)
    local n <const> = #c > 1 and utf8.codepoint(c) or 0
    if hidden(n) then return string.format("\\u{%04X}", n) end
  end))
end
