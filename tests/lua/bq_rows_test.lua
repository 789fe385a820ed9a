-- garun.core.bq_rows: pages of BigQuery answers to lines, whatever the pieces they come in, and nothing but them.
local t <const> = require "garun.test"
local json <const> = require "garun.json"
local core <const> = require "garun.core.bq_rows"

local scanner <const> = core.scanner

local function row(text)
  return '{"f":[{"v":' .. json.encode(text) .. "}]}"
end

-- Feeds the page in pieces that end after the given bytes; gives lines, other members, rows, head.
local function scan(page, cuts, skip)
  local s <close> = scanner(skip or 0)
  local out <const>, from, head = {}, 1
  for _, to in ipairs(cuts or {}) do
    local lines, h <const> = s:feed(page:sub(from, to))
    head = head or h
    out[#out + 1] = lines
    from = to + 1
  end
  local lines <const>, h <const> = s:feed(page:sub(from))
  out[#out + 1] = lines
  return table.concat(out), s:finish(), s:rows(), head or h
end

local events <const> = {
  '{"event_name":"page_view","n":1}',
  '{"t":"a \\"quote\\", a \\\\ and \\u0000 and \\ud83d\\ude00 stay escapes \\n of the event"}',
  '{"city":"M\u{fc}nchen \u{20ac} \u{1f600}","empty":""}',
  "{}",
  '{"params":[' .. ('{"key":"page_location","value":{"string_value":"https://shop.example/a?b=c"}},'):rep(5) .. "{}]}",
}
local texts <const> = {}
for i, e in ipairs(events) do texts[i] = row(e) end
local before <const> = '{"kind":"bigquery#queryResponse","schema":{"fields":[{"name":"event","type":"STRING"}]},'
  .. '"totalRows":"5","pageToken":"BA]}[{\\"\\\\X"'
local page <const> = before .. ',"rows":[' .. table.concat(texts, ",") .. '],"jobComplete":true,"n":-1.5e3,"x":[[],{}]}'
local members <const> = before .. ',"jobComplete":true,"n":-1.5e3,"x":[[],{}]}'
local lines <const> = table.concat(events, "\n") .. "\n"

t.test("each row's text is a line, and the other members are a JSON object", function()
  local out <const>, rest <const>, n <const>, head <const> = scan(page)
  t.equal(out, lines)
  t.equal(rest, members)
  t.equal(n, 5)
  t.equal(head, before .. "}")
  t.equal(json.decode(rest).pageToken, 'BA]}[{"\\X')
end)

t.test("where a page is cut in two does not matter, at any byte", function()
  for cut = 0, #page do
    local out <const>, rest <const>, n <const>, head <const> = scan(page, { cut })
    if out ~= lines or rest ~= members or n ~= 5 or head ~= before .. "}" then t.equal(out, lines, "cut at " .. cut) end
  end
end)

t.test("a page may come byte by byte, and with white space everywhere between its tokens", function()
  local cuts <const> = {}
  for i = 1, #page do cuts[i] = i end
  t.equal(scan(page, cuts), lines)
  local wide <const> = ' {\n  "kind" : "k" ,\r\n\t"rows" : [ { "f" : [ { "v" : "{}" } ] } , {"f":[{"v":"{\\"a\\":1}"}]} ] , '
    .. '"n" : 12 , "o" : { } }\n '
  for cut = 0, #wide do
    local out <const>, rest <const> = scan(wide, { cut })
    t.equal(out, '{}\n{"a":1}\n')
    t.equal(json.decode(rest), { kind = "k", n = 12, o = {} })
  end
end)

t.test("every escape of JSON is read, at any cut", function()
  local text <const> = [[{"rows":[{"f":[{"v":"{\"a\":\"\u00fc\u00FC\u20ac\ud83d\ude00\uD83D\uDE00\/\\\\\u007f\u0022}"}]}]}]]
  local want <const> = '{"a":"üü€😀😀/\\\\\x7f"}\n'
  for cut = 0, #text do t.equal(scan(text, { cut }), want) end
end)

t.test("rows that were handed out before are skipped, checked and counted", function()
  for skip = 0, 6 do
    local cuts <const> = {}
    for i = 1, #page, 7 do cuts[#cuts + 1] = i end
    local out <const>, _, n <const> = scan(page, cuts, skip)
    local want <const> = table.move(events, skip + 1, #events, 1, {})
    t.equal(out, #want == 0 and "" or table.concat(want, "\n") .. "\n")
    t.equal(n, 5)
  end
end)

t.test("only whole rows are handed out, each as soon as it has ended", function()
  local s <close> = scanner()
  local seen, whole = 0, 0
  for i = 1, #page do
    local out <const> = s:feed(page:sub(i, i))
    if out then
      seen = seen + #out
      whole = whole + 1
      t.ok(out:sub(-1) == "\n")
      t.equal(s:rows(), whole)
    end
  end
  t.equal(whole, 5)
  t.equal(seen, #lines)
end)

t.test("a row of many megabytes comes through in small pieces", function()
  local big <const> = '{"a":"' .. ("x\\u00e4\\\\"):rep(1 << 20) .. '"}'
  local text <const> = '{"rows":[' .. row("{}") .. "," .. row(big) .. "," .. row(events[1]) .. "]}"
  local s <close> = scanner()
  local out <const> = {}
  for i = 1, #text, 60000 do out[#out + 1] = s:feed(text:sub(i, i + 59999)) end
  s:finish()
  t.ok(table.concat(out) == "{}\n" .. big .. "\n" .. events[1] .. "\n")
end)

t.test("pages without rows have none", function()
  for _, text in ipairs { "{}", '{"totalRows":"0"}', '{"rows":[]}', '{"rows":[],"a":1}', '{"a":"rows"}' } do
    local out <const>, _, n <const> = scan(text)
    t.equal(out, "")
    t.equal(n, 0)
  end
  t.equal(select(4, scan '{"a":1,"rows":[],"b":2}'), '{"a":1}')
  t.equal(select(4, scan '{"a":1,"b":2}'), nil)
end)

t.test("a page that is cut is an error that may pass, at any byte", function()
  for cut = 0, #page - 1 do
    local s <close> = scanner()
    s:feed(page:sub(1, cut))
    local e <const> = t.raises({ kind = "bigquery", code = "truncated", retryable = true }, s.finish, s)
    t.match(e.message, "cut at byte " .. cut)
    t.raises({ code = "closed" }, s.feed, s, "x")
  end
end)

local damaged <const> = {
  { "[]", "byte 0.*expected '{', got '%['" },
  { "<html>", "expected '{', got '<'" },
  { "{} x", "expected nothing more" },
  { "{,}", "expected a member's name or '}'" },
  { '{"a":1,}', "expected a member's name, got '}'" },
  { '{"a" 1}', "expected ':'" },
  { '{"a\\n":1}', "expected a member's name" },
  { '{"rows":null}', "expected '%[' of the rows, got 'n'" },
  { '{"rows":{}}', "expected '%[' of the rows" },
  { '{"rows":[],"rows":[]}', 'a second member "rows"' },
  { '{"rows":[,]}', "expected a row or '%]'" },
  { '{"rows":[{"f":[{"v":"{}"}]},]}', "behind 1 rows: expected a row, got '%]'" },
  { '{"rows":[{"f":[{"v":"{}"}]}{', "expected ',' or '%]' behind a row" },
  { '{"rows":[{"f":[{"v":null}]}]}', "the row is NULL" },
  { '{"rows":[{"f":[{"v":12}]}]}', "the text of the row's one column, got '1'" },
  { '{"rows":[{"f":[{"v":{"f":[]}}]}]}', "the text of the row's one column" },
  { '{"rows":[{"f":[{"v":"{}"},{"v":"{}"}]}]}', "rows of one column are read, got ','" },
  { '{"rows":[{"f":[]}]}', 'expected {"f":%[{"v":, got' },
  { '{"rows":[{"g":[{"v":"{}"}]}]}', 'expected {"f":%[{"v":, got' },
  { '{"rows":[{"f ":[{"v":"{}"}]}]}', 'expected {"f":%[{"v":, got' },
  { '{"rows":[{"f":[{"v":"text"}]}]}', "no JSON object" },
  { '{"rows":[{"f":[{"v":""}]}]}', "no JSON object" },
  { '{"rows":[{"f":[{"v":"{\n}"}]}]}', "byte 22, .*raw control character" },
  { '{"rows":[{"f":[{"v":"{\0}"}]}]}', "raw control character" },
  { '{"rows":[{"f":[{"v":"{\\n}"}]}]}', "holds a control character" },
  { '{"rows":[{"f":[{"v":"{\\u0000}"}]}]}', "holds a control character" },
  { '{"rows":[{"f":[{"v":"{\\u00g0}"}]}]}', "four hexadecimal digits" },
  { '{"rows":[{"f":[{"v":"{\\x}"}]}]}', "an escape that JSON does not have" },
  { '{"rows":[{"f":[{"v":"{\\ud83d}"}]}]}', "half of a surrogate pair" },
  { '{"rows":[{"f":[{"v":"{\\ud83d\\n}"}]}]}', "half of a surrogate pair" },
  { '{"rows":[{"f":[{"v":"{\\ud83d\\u0041}"}]}]}', "half of a surrogate pair" },
  { '{"rows":[{"f":[{"v":"{\\ude00}"}]}]}', "half of a surrogate pair" },
  { '{"rows":[{"f":[{"v":"{\\ud83d"}]}]}', "half of a surrogate pair" },
}

t.test("what Google would not write is an error that names the byte, whole or byte by byte", function()
  for _, case in ipairs(damaged) do
    local text <const> = case[1]
    local e <const> = t.raises({ kind = "bigquery", code = "page", retryable = true }, scan, text)
    t.match(e.message, case[2], text)
    local cuts <const> = {}
    for i = 1, #text do cuts[i] = i end
    local again <const> = t.raises({ code = "page" }, scan, text, cuts)
    t.equal(again.message, e.message)
  end
end)

t.test("a page with much beside its rows is refused", function()
  t.raises({ code = "page" }, scan, '{"a":"' .. ("x"):rep(5 << 20) .. '"}')
  local ok <const> = select(2, scan('{"a":"' .. ("x"):rep(3 << 20) .. '"}'))
  t.equal(#ok, (3 << 20) + 8)
end)

t.test("random pages in random pieces give what garun.json reads from them", function()
  math.randomseed(20240105)
  local bits <const> = { "a", '"', "\\", "ü", "€", "😀", "\u{7f}", " ", "/", "{", "}", "[", "]", "<b>", "\u{2028}" }
  for _ = 1, 200 do
    local want <const>, rows <const> = {}, {}
    for i = 1, math.random(0, 8) do
      local s <const> = {}
      for j = 1, math.random(0, 40) do s[j] = bits[math.random(#bits)] end
      want[i] = json.encode { v = table.concat(s), n = math.random(0) }
      rows[i] = row(want[i])
      if math.random() < 0.3 then rows[i] = rows[i]:gsub("[^\0-\x7f]+", function(c)
        return c:gsub("[\xc2-\xf4][\x80-\xbf]*", function(u)
          local p <const> = utf8.codepoint(u)
          if p < 0x10000 then return ("\\u%04x"):format(p) end
          return ("\\u%04X\\u%04x"):format(0xd800 + (p - 0x10000 >> 10), 0xdc00 + (p & 0x3ff))
        end)
      end) end
    end
    local text <const> = '{"rows":[' .. table.concat(rows, ",") .. '],"totalRows":"' .. #rows .. '"}'
    local cuts <const>, at = {}, 0
    while at < #text do
      at = at + math.random(1, 30)
      cuts[#cuts + 1] = math.min(at, #text)
    end
    local out <const>, rest <const>, n <const> = scan(text, cuts)
    t.equal(out, #want == 0 and "" or table.concat(want, "\n") .. "\n")
    t.equal(rest, '{"totalRows":"' .. #rows .. '"}')
    t.equal(n, #rows)
  end
end)

t.test("lines of other sources are counted", function()
  t.equal({ core.count "", core.count "a", core.count "a\n\nb\n", core.count(("x\n"):rep(9999)) }, { 0, 0, 3, 9999 })
end)
