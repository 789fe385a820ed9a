-- garun.schema.split: cuts the text of an SQL file into its statements, each with the line it starts on.
--
-- So that an error names file and line even where the server gives no position. It knows the lexical rules that decide
-- whether a semicolon ends a statement (PostgreSQL manual, 4.1 Lexical Structure; psql's psqlscan.l) and nothing else.
-- standard_conforming_strings is taken as on. psql's backslash commands and COPY FROM STDIN are not for these files.

local errors <const> = require "garun.error"

local WORD <const> = "^[%a_\x80-\xff][%w_$\x80-\xff]*"

-- Where the quoted text that opens at `at` ends; nil when it does not.
local function end_of_quote(text, at, quote, backslashes)
  local pos = at + 1
  while true do
    pos = text:find(backslashes and "[\\" .. quote .. "]" or quote, pos)
    if not pos then return nil end
    if text:sub(pos, pos) == quote then return pos end     -- a doubled quote opens again at the next character
    pos = pos + 2
  end
end

-- PostgreSQL's block comments nest.
local function end_of_comment(text, at)
  local depth, pos = 1, at + 2
  while depth > 0 do
    pos = text:find("[/*][/*]", pos)
    if not pos then return nil end
    local two <const> = text:sub(pos, pos + 1)
    if two == "/*" then
      depth, pos = depth + 1, pos + 2
    elseif two == "*/" then
      depth, pos = depth - 1, pos + 2
    else
      pos = pos + 1
    end
  end
  return pos - 1
end

local function end_of_dollar(text, at)
  local tag <const> = text:match("^%$[%a_\x80-\xff][%w_\x80-\xff]*%$", at) or text:match("^%$%$", at)
  if not tag then return at end                              -- $1, or a dollar sign alone
  local _, last <const> = text:find(tag, at + #tag, true)
  return last
end

--- Cuts text into statements: a list of {text, line, word}; word is the first word in lower case, line counts from 1.
--- Comments before a statement belong to none. Raises an error of kind "schema" that names `file` and the line where a
--- quote or comment opens that never ends.
return function(text, file)
  local statements <const> = {}
  local line, counted = 1, 1                                 -- line of the byte `counted`
  local first, first_line, words                             -- of the statement being read
  local parens, blocks = 0, 0                                -- open parentheses; open BEGIN ATOMIC and CASE
  local pos = 1

  local function line_of(at)
    for _ in text:sub(counted, at - 1):gmatch "\n" do line = line + 1 end
    counted = at
    return line
  end
  local function must_end(last, at, what)
    if last then return last end
    error(errors.new { kind = "schema", code = "syntax",
      message = string.format("%s:%d: the %s that starts here does not end", file, line_of(at), what) }, 0)
  end
  local function close(last)
    if first then
      statements[#statements + 1] = { text = text:sub(first, last), line = first_line, word = words[1] or "" }
    end
    first, parens, blocks = nil, 0, 0
  end
  -- The body of CREATE FUNCTION ... BEGIN ATOMIC ... END holds semicolons of its own.
  local function note_word(word)
    words[#words + 1] = #words < 4 and word or nil
    if words[1] ~= "create" then return end
    local kind <const> = words[2] == "or" and words[4] or words[2]
    if kind ~= "function" and kind ~= "procedure" then return end
    if word == "begin" or (word == "case" and blocks > 0) then
      blocks = blocks + 1
    elseif word == "end" and blocks > 0 then
      blocks = blocks - 1
    end
  end

  while true do
    pos = text:find("%S", pos)
    if not pos then break end
    local c <const>, two <const> = text:sub(pos, pos), text:sub(pos, pos + 1)
    local last = pos
    if two == "--" then
      last = text:find("\n", pos, true) or #text
    elseif two == "/*" then
      last = must_end(end_of_comment(text, pos), pos, "comment")
    elseif c == ";" and parens == 0 and blocks == 0 then
      close(pos - 1)
    else
      if not first then first, first_line, words = pos, line_of(pos), {} end
      local _, word_end <const> = text:find(WORD, pos)
      if c == "'" then
        last = must_end(end_of_quote(text, pos, "'", false), pos, "string")
      elseif c == '"' then
        last = must_end(end_of_quote(text, pos, '"', false), pos, "quoted name")
      elseif c == "$" then
        last = must_end(end_of_dollar(text, pos), pos, "dollar-quoted text")
      elseif c == "(" then
        parens = parens + 1
      elseif c == ")" then
        parens = math.max(parens - 1, 0)
      elseif word_end then
        local word <const> = text:sub(pos, word_end):lower()
        if word == "e" and text:sub(word_end + 1, word_end + 1) == "'" then
          last = must_end(end_of_quote(text, word_end + 1, "'", true), pos, "string")
        else
          last = word_end
          note_word(word)
        end
      end
    end
    pos = last + 1
  end
  close(#text)
  return statements
end
