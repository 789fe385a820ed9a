-- xlsx: the Lua half of the plugin: options, sheet names, titles and layout of what is written. Reading is C alone.
--
-- Called by module.c with the C half, { open, writer }; gives the module.

local core <const> = ...
local errors <const> = require "garun.error"

local xlsx <const> = { open = core.open }

local MAX_COLUMNS <const> = 16384
local DATE <const>, DATETIME <const> = "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss"

local function usage(fmt, ...)
  error(errors.new { kind = "usage", code = "argument", message = string.format(fmt, ...) }, 0)
end

---- names and columns ----

-- Excel's rules; libxlsxwriter knows most of them, but not all, and says less.
local function check_name(self, name)
  if type(name) ~= "string" then usage("xlsx.writer: a sheet's name is a string, not a %s", type(name)) end
  local chars <const> = utf8.len(name)
  local why
  if not chars then why = "it is not valid UTF-8"
  elseif chars == 0 then why = "it is empty"
  elseif chars > 31 then why = "it has " .. chars .. " characters, 31 are allowed"
  elseif name:find("[%[%]:*?/\\%c]") then why = "it has one of [ ] : * ? / \\ or a control character in it"
  elseif name:find("^'") or name:find("'$") then why = "it begins or ends with an apostrophe"
  elseif name:lower() == "history" then why = "Excel keeps this name for itself"
  elseif self.names[name:lower()] then why = "there is a sheet of that name already (case does not count)"
  end
  if why then
    error(errors.new { kind = "xlsx", code = "sheet_name",
      message = string.format("xlsx.writer: '%s' cannot be a sheet's name: %s", name, why) }, 0)
  end
  self.names[name:lower()] = true
end

local column_options <const> = { "title", "key", "width", "format", "type" }
local kinds <const> = { text = "text", number = "number", date = "date", datetime = "date" }

local function check_column(i, column)
  if type(column) == "string" then column = { title = column } end
  if type(column) ~= "table" then usage("xlsx.writer: column %d is a title or a table, not a %s", i, type(column)) end
  errors.check_options("xlsx.writer, column " .. i, column, column_options)
  for _, field in ipairs { "title", "format" } do
    if column[field] ~= nil and type(column[field]) ~= "string" then
      usage("xlsx.writer: column %d: %s is a string, not a %s", i, field, type(column[field]))
    end
  end
  if column.type ~= nil and not kinds[column.type] then
    usage("xlsx.writer: column %d: type is text, number, date or datetime", i)
  end
  local width <const> = column.width
  if width ~= nil and (type(width) ~= "number" or not (width > 0 and width <= 255)) then
    usage("xlsx.writer: column %d: width is a number of characters up to 255", i)
  end
  return column
end

---- sheets ----

local sheet <const> = {}
sheet.__index = sheet
sheet.__name = "xlsx.sheet"
sheet.__metatable = false

local writer <const> = {}
writer.__index = writer
writer.__name = "xlsx.writer"
writer.__metatable = false

local sheet_options <const> = { "name", "columns", "header", "freeze", "autofilter" }

local function format_of(self, column)
  local code <const> = column.format or column.type == "date" and DATE or column.type == "datetime" and DATETIME
  if not code then return nil end
  self.formats[code] = self.formats[code] or self.core:format(code, false)
  return self.formats[code]
end

function writer:sheet(opts)
  opts = errors.check_options("writer:sheet", opts, sheet_options)
  local columns <const> = {}
  for i, column in ipairs(opts.columns or {}) do columns[i] = check_column(i, column) end
  local titled <const> = #columns > 0 and columns[1].title ~= nil
  local header <const> = opts.header == nil and titled or opts.header or false
  local name <const> = opts.name or "Sheet" .. #self.sheets + 1
  check_name(self, name)
  local freeze <const> = header and opts.freeze ~= false
  local s <const> = setmetatable({ writer = self, columns = columns, keys = {}, rows = 0,
    index = self.core:sheet(name, freeze, opts.autofilter == true) }, sheet)
  self.sheets[#self.sheets + 1] = s
  local titles <const> = {}
  for i, column in ipairs(columns) do
    self.core:column(s.index, kinds[column.type] or "any", format_of(self, column), column.width)
    titles[i] = column.title or ""
    s.keys[i] = column.key or column.title
  end
  if header then
    self.header = self.header or self.core:format(nil, true)
    self.core:row(s.index, titles, #titles, self.header)
  end
  return s
end

-- A row is an array, or a table by name when it has neither element 1 nor n.
local function values_of(self, row)
  if type(row) ~= "table" then usage("sheet:row: a row is a table, not a %s", type(row)) end
  local n <const> = row.n
  if math.type(n) == "integer" and n >= 0 and n <= MAX_COLUMNS then return row, n end
  local columns <const> = #self.columns
  if row[1] ~= nil or columns == 0 then return row, math.max(#row, columns) end
  local values <const> = {}
  for i = 1, columns do
    local key <const> = self.keys[i]
    values[i] = key and row[key]
  end
  return values, columns
end

function sheet:row(row)
  local values <const>, n <const> = values_of(self, row)
  self.writer.core:row(self.index, values, n)
  self.rows = self.rows + 1
  return self
end

---- workbooks ----

function xlsx.writer(path)
  if type(path) ~= "string" or path == "" or path:find("\0", 1, true) then usage("xlsx.writer: takes a path") end
  return setmetatable({ core = core.writer(path), sheets = {}, names = {}, formats = {} }, writer)
end

function writer:finish()
  if #self.sheets == 0 then self:sheet {} end        -- Excel opens no workbook without a sheet
  self.core:finish()
  local rows = 0
  for _, s in ipairs(self.sheets) do rows = rows + s.rows end
  return rows
end

function writer:close()
  self.core:close()
end

writer.__close = writer.close

local function each(rows)
  local meta <const> = type(rows) == "table" and getmetatable(rows)
  if type(rows) == "function" or type(rows) == "userdata" or meta and meta.__call then return rows end
  if type(rows) ~= "table" then usage("xlsx.write: rows is a list of rows or an iterator, not a %s", type(rows)) end
  local i = 0
  return function()
    i = i + 1
    return rows[i]
  end
end

function xlsx.write(path, opts)
  opts = errors.check_options("xlsx.write", opts, { "sheets" })
  if type(opts.sheets) ~= "table" or #opts.sheets == 0 then
    usage "xlsx.write: option 'sheets' is a list of sheets, at least one"
  end
  local out <close> = xlsx.writer(path)
  for _, s in ipairs(opts.sheets) do
    local layout <const> = {}
    for k, v in pairs(s) do
      if k ~= "rows" then layout[k] = v end
    end
    local into <const> = out:sheet(layout)
    for row in each(s.rows or {}) do into:row(row) end
  end
  return out:finish()
end

return xlsx
