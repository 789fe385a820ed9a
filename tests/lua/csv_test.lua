-- garun.csv: RFC 4180 with what files really hold, in chunks of any size, and back.
local t <const> = require "garun.test"
local csv <const> = require "garun.csv"
local json <const> = require "garun.json"

-- A source that gives text in pieces of n bytes.
local function pieces(text, n)
  local at = 1
  return function()
    if at > #text then return nil end
    local piece <const> = text:sub(at, at + n - 1)
    at = at + n
    return piece
  end
end

local function all(reader)
  local rows <const> = {}
  for row in reader do rows[#rows + 1] = row end
  return rows
end

t.test("fields, quotes, doubled quotes and line ends within quotes", function()
  t.equal(csv.decode 'a,b,c\r\n1,"x, y","say ""hi"""\r\n"two\r\nlines",,""\r\n',
    { { "a", "b", "c" }, { "1", "x, y", 'say "hi"' }, { "two\r\nlines", "", "" } })
end)

t.test("LF, CR LF and CR end lines, the last one needs none", function()
  for _, text in ipairs { "a,b\nc,d", "a,b\r\nc,d\r\n", "a,b\rc,d\r", "a,b\n\n\nc,d\n\n" } do
    t.equal(csv.decode(text), { { "a", "b" }, { "c", "d" } }, text)
  end
  t.equal(csv.decode "", {})
  t.equal(csv.decode "a,", { { "a", "" } })
  t.equal(csv.decode "a\n\nb", { { "a" }, { "b" } })
  t.equal(csv.decode("a\n\nb", { keep_blank = true }), { { "a" }, { "" }, { "b" } })
  t.equal(csv.decode 'a\n""\nb', { { "a" }, { "" }, { "b" } })
end)

t.test("chunks of every size give the same rows and lines", function()
  local text <const> = '\xEF\xBB\xBFname,"te""xt"\r\nMüller,"a\r\nb"\r\n\r\n"x",€\r'
  local want <const> = { { "name", 'te"xt' }, { "Müller", "a\r\nb" }, { "x", "€" } }
  for n = 1, #text do
    local rows <const>, lines <const> = {}, {}
    for row, line in csv.reader(pieces(text, n)) do
      rows[#rows + 1] = row
      lines[#lines + 1] = line
    end
    t.equal(rows, want, n .. " bytes")
    t.equal(lines, { 1, 2, 5 }, n .. " bytes")
  end
end)

t.test("the source may wait", function()
  local text <const> = "a,b\n1,2\n3,4\n"
  local at = 0
  local co <const> = coroutine.wrap(function()
    local reader <close> = csv.reader(function()
      coroutine.yield "waiting"
      at = at + 1
      return at <= #text and text:sub(at, at) or nil
    end, { header = true })
    local sum = 0
    for row in reader do sum = sum + row.a * row.b end
    return sum
  end)
  local waits, answer = 0, co()
  while answer == "waiting" do
    waits = waits + 1
    answer = co()
  end
  t.equal({ answer, waits }, { 14, #text + 1 })
end)

t.test("an empty chunk is not the end, another value is an error", function()
  local chunks <const> = { "a,", "", "b\n", "" }
  t.equal(all(csv.reader(function() return table.remove(chunks, 1) end)), { { "a", "b" } })
  t.raises("source must return strings and nil at the end, got table", csv.reader(function() return {} end))
end)

t.test("a source that fails leaves a reader that says so", function()
  local reader <const> = csv.reader(function() error "boom" end)
  t.raises("boom", reader)
  t.raises("the source has failed, or another task is reading", reader)
end)

t.test("with a header rows are tables by name", function()
  local reader <close> = csv.reader("id,name\n1,x\n2,y\n", { header = true })
  t.equal(all(reader), { { id = "1", name = "x" }, { id = "2", name = "y" } })
  t.equal(reader:columns(), { "id", "name" })
  t.equal(csv.decode("1,x\n", { header = { "id", "name" } }), { { id = "1", name = "x" } })
  t.equal(csv.reader("a,b\n"):columns(), nil)
end)

t.test("a header needs unique names", function()
  t.raises("line 1: two columns are named 'a'", csv.decode, "a,a\n1,2\n", { header = true })
  t.raises("line 1: column 2 has no name", csv.decode, "a,\n1,2\n", { header = true })
  t.raises("two columns are named 'x'", csv.reader, "", { header = { "x", "x" } })
  t.raises("'header' must be true, false or a list", csv.reader, "", { header = "a,b" })
end)

t.test("rows of another width are errors, or taken as they are", function()
  t.raises("line 3: 3 fields, but the first row has 2", csv.decode, "a,b\n1,2\n1,2,3\n")
  t.raises("line 2: 1 field, but there are names for 2", csv.decode, "a,b\n1\n", { header = true })
  t.equal(csv.decode("a,b\n1\n1,2,3,4\n", { header = true, ragged = true }),
    { { a = "1" }, { a = "1", b = "2", [1] = "3", [2] = "4" } })
end)

t.test("delimiter, quote, trim and null are settable", function()
  t.equal(csv.decode("a;'x;y'\n", { delimiter = ";", quote = "'" }), { { "a", "x;y" } })
  t.equal(csv.decode('a\t"b\n', { delimiter = "\t", quote = "" }), { { "a", '"b' } })
  t.equal(csv.decode(' a ,\t" b " , c d \n', { trim = true }), { { "a", " b ", "c d" } })
  t.equal(csv.decode(" a , b\n"), { { " a ", " b" } })
  t.equal(csv.decode('x,y\nNULL,"NULL"\n', { header = true, null = "NULL" }), { { y = "NULL" } })
  t.equal(csv.decode('x,y\n,""\n', { header = true, null = "" }), { { y = "" } })
end)

t.test("stray quotes are errors with their place, or text", function()
  t.raises('line 2, byte 4, field 2: a quote within a field', csv.decode, 'a,b\n1,x"y\n')
  t.raises('line 1, byte 4, field 1: text after the closing quote', csv.decode, '"a"b,c\n')
  t.equal(csv.decode('5" pipe,"a"b\n', { lax = true }), { { '5" pipe', "ab" } })
end)

t.test("an unclosed quote is reported where it opens", function()
  for n = 1, 20 do
    local reader <const> = csv.reader(pieces('a,b\n1,2\nx,"open\n\nto the end', n))
    local e <const> = t.raises({ kind = "csv", code = "quote" }, all, reader)
    t.match(e.message, "^line 3, byte 3, field 2: the quote that opens here is never closed; the text ends at line 5$")
  end
end)

t.test("a row longer than max_row is an error that suspects an unclosed quote", function()
  local e <const> = t.raises({ code = "size" }, all,
    csv.reader(pieces('a\n"' .. ("x\n"):rep(1000), 100), { max_row = 500 }))
  t.match(e.hint, "the quote that opens at line 2, byte 1 may never have been closed")
  t.raises({ code = "size" }, csv.decode, (","):rep(100001))
end)

t.test("text must be UTF-8, can be windows-1252, and bytes pass on request", function()
  t.raises("line 2, field 1 %(b%): byte 2 of the field %(0xfc%) is not well%-formed UTF%-8", csv.decode,
    "b\nM\xFCller\n", { header = true })
  t.equal(csv.decode("M\xFCller \x80\n", { encoding = "windows-1252" }), { { "Müller €" } })
  t.raises("0x81%) is not a character of windows%-1252", csv.decode, "\x81\n", { encoding = "windows-1252" })
  t.equal(csv.decode("\xFF\n", { encoding = "bytes" }), { { "\xFF" } })
  t.raises("the text is UTF%-16", csv.decode, "\xFF\xFEa\0")
  t.equal(csv.decode("\xFE\xFFa", { encoding = "bytes" }), { { "\xFE\xFFa" } })
  t.equal(csv.decode("a\0b\n", { encoding = "windows-1252" }), { { "a\0b" } })
end)

t.test("a closed reader says so, closing twice is allowed", function()
  local reader <const> = csv.reader "a\nb\n"
  reader()
  t.equal(tostring(reader), "csv.reader(line 1, 1 rows)")
  reader:close()
  reader:close()
  t.raises("csv%.reader is closed", reader)
  t.equal(tostring(reader), "csv.reader(closed)")
end)

t.test("after the end a reader keeps saying so", function()
  local reader <const> = csv.reader "a\n"
  t.equal({ reader(), reader(), reader() }, { { "a" } })
end)

t.test("wrong options are refused by name", function()
  t.raises("csv%.reader: unknown option 'delim', known are: ", csv.reader, "", { delim = ";" })
  t.raises("unknown option 'delimeter', did you mean 'delimiter'", csv.reader, "", { delimeter = ";" })
  t.raises("'delimiter' must be one ASCII character", csv.reader, "", { delimiter = ";;" })
  t.raises("'delimiter' and 'quote' must differ", csv.reader, "", { delimiter = '"' })
  t.raises("source must be a string or a function", csv.reader, nil)
end)

t.test("encode writes arrays, quoting what needs it", function()
  t.equal(csv.encode { { "a", 1, 2.5, true }, { 'q"q', "x,y", "l\nf", " s" }, { "", json.null, nil, "z" } },
    'a,1,2.5,true\r\n"q""q","x,y","l\nf"," s"\r\n,,,z\r\n')
  t.equal(csv.encode {}, "")
end)

t.test("encode writes tables by name with a header", function()
  local rows <const> = { { b = 2, a = 1 }, { a = 3 } }
  t.equal(csv.encode(rows, { newline = "\n" }), "a,b\n1,2\n3,\n")
  t.equal(csv.encode(rows, { columns = { "b", "a" }, newline = "\n" }), "b,a\n2,1\n,3\n")
  t.equal(csv.encode(rows, { columns = { "b" }, header = false, newline = "\n" }), '2\n""\n')
  rows.columns = { "b", "a" }
  t.equal(csv.encode(rows, { newline = "\n" }), "b,a\n2,1\n,3\n")
end)

t.test("options of the writer", function()
  t.equal(csv.encode({ { "a", 1 } }, { quote_all = true, delimiter = ";", newline = "\n" }), '"a";1\n')
  t.equal(csv.encode({ { "", json.null, "NULL" } }, { null = "NULL", newline = "\n" }), ',NULL,"NULL"\n')
  t.equal(csv.encode({ { "", nil, "x" } }, { null = "", newline = "\n" }), '"",,x\n')
  t.equal(csv.encode({ { "a" } }, { bom = true, newline = "\n" }), "\xEF\xBB\xBFa\n")
  t.raises("'formulas' must be \"keep\" or \"neutralise\"", csv.encode, {}, { formulas = "drop" })
  t.raises("unknown option 'newlin'", csv.encode, {}, { newlin = "\n" })
end)

t.test("formulas are neutralised, numbers are left alone", function()
  local function one(v) return csv.encode({ { v, "" } }, { formulas = "neutralise", newline = "\n" }) end
  for _, evil in ipairs { "=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3", "\tx", "\rx", "\nx", "＝1", "-" } do
    t.equal(one(evil), '"\'' .. evil .. '",\n', evil)
  end
  for _, v in ipairs { "-5.20", "+49", -5, -2.5, "a", "1-2" } do
    t.equal(one(v), v .. ",\n")
  end
  t.equal(csv.encode({ { "=1" } }, { newline = "\n" }), "=1\n", "off by default: data stays data")
end)

t.test("what is no field is refused and leaves no half row", function()
  local out <const> = {}
  local w <const> = csv.writer(function(chunk) out[#out + 1] = chunk end, { newline = "\n" })
  w:row { "a", "b" }
  t.raises("row 2, field 2 is a table", w.row, w, { "c", {} })
  t.raises("row 2, field 1 is not a finite number", w.row, w, { 0 / 0, 1 })
  t.raises("row 2 has 3 fields, but the first row has 2", w.row, w, { 1, 2, 3 })
  w:row { "d", "e" }
  t.equal(w:finish(), 2)
  t.equal(table.concat(out), "a,b\nd,e\n")
  t.raises("csv%.writer is finished", w.row, w, { 1 })
  w:close()
  t.raises("csv%.writer is closed", w.row, w, { 1 })
end)

t.test("a writer hands chunks to a sink that may wait, or to an object's write", function()
  local out <const>, object <const> = {}, { text = "" }
  local co <const> = coroutine.wrap(function()
    local w <close> = csv.writer(function(chunk)
      coroutine.yield "waiting"
      out[#out + 1] = chunk
    end)
    for i = 1, 20000 do w:row { i, "text of row " .. i } end
    return w:finish()
  end)
  local answer
  repeat answer = co() until answer ~= "waiting"
  t.equal(answer, 20000)
  t.ok(#out > 5)
  t.equal(#csv.decode(table.concat(out)), 20000)
  function object:write(chunk) self.text = self.text .. chunk end
  csv.writer(object):row({ 1, 2 }):finish()
  t.equal(object.text, "1,2\r\n")
  t.raises("sink must be a function", csv.writer, 12)
end)

t.test("a writer that is closed unfinished hands over nothing more", function()
  local out = ""
  do
    local w <close> = csv.writer(function(chunk) out = out .. chunk end)
    w:row { 1 }
  end
  t.equal(out, "")
end)

t.test("random rows survive writing and reading in chunks", function()
  math.randomseed(4180)
  local alphabet <const> = { "a", '"', ",", "\n", "\r", " ", "\t", "ä", "", "x y", "\r\n", "'", ";", "\xEF\xBB\xBF" }
  for _ = 1, 500 do
    local rows <const>, width <const> = {}, math.random(1, 5)
    for i = 1, math.random(1, 8) do
      rows[i] = {}
      for k = 1, width do
        local parts <const> = {}
        for p = 1, math.random(0, 4) do parts[p] = alphabet[math.random(#alphabet)] end
        rows[i][k] = table.concat(parts)
      end
    end
    local newline <const> = math.random(2) == 1 and "\n" or "\r\n"
    local text <const> = csv.encode(rows, { newline = newline, quote_all = math.random(2) == 1 })
    t.equal(all(csv.reader(pieces(text, math.random(1, 12)))), rows)
    t.equal(all(csv.reader(pieces(text, math.random(1, 12)), { trim = true })), rows, "outer spaces are quoted")
  end
end)
