-- master: the two files of master data that a distributor's ERP puts on SFTP every night: users.csv and locations.csv,
-- with the header names, the double columns and the slips such files have.

local random <const> = require "generator.random"

local master <const> = {}

local function field(v)
  v = v or ""
  if v:find('[",\r\n]') then
    return '"' .. v:gsub('"', '""') .. '"'
  end
  return v
end

local function row(...)
  local out <const> = {}
  for i = 1, select("#", ...) do
    out[i] = field((select(i, ...)))
  end
  return table.concat(out, ",") .. "\r\n"
end

--- The users file: { csv = text, account = { rows, stored, rejected, duplicates } }. About one in eight customers of
--- the web shop is missing in it. Rows without an id are rejected, of two with the same id the last one is stored.
---@param dirt number  0 = a clean file
function master.users(shop, dirt)
  local r <const> = random.new(shop.seed, "users file")
  local out <const>, a <const> = {}, { rows = 0, stored = 0, rejected = 0, duplicates = 0 }
  local function add(...)
    out[#out + 1] = row(...)
    a.rows = a.rows + 1
  end
  if dirt > 0 then
    out[1] = row("User Report", "", "", "", "", "", "", "", "")
  end
  out[#out + 1] = row("CIMM_USER_ID", "USER_ID", "BUYING_COMPANY_NAME", "CUSTOMER_NAME", "EMAIL_ADDRESS", "CELL_PHONE",
    "MOBILE_PHONE", "PHONE_NUMBER", "CREDIT_HOLD")
  for _, c in ipairs(shop.customers) do
    if not r:chance(0.12) then
      local old <const> = dirt > 0 and r:chance(0.2)   -- an account of the former shop: the other column of each pair
      local cell <const> = not r:chance(0.3) and c.cell or nil
      if dirt > 0 and r:chance(0.01) then
        add(c.id, "", "to be replaced by the next row", "", "", "", "", "", "N")
        a.duplicates = a.duplicates + 1
      end
      add(old and " " or c.id, old and c.id or "", old and "" or c.company, old and c.company or "",
        r:chance(0.02) and " " .. c.email:upper() .. " " or c.email, not old and cell or nil, old and cell or nil,
        c.office, r:chance(0.03) and "Y" or "N")
      a.stored = a.stored + 1
      if dirt > 0 and r:chance(0.004) then
        add("", "  ", c.company, "", c.email, "", "", "", "N")
        a.rejected = a.rejected + 1
      end
    end
  end
  if dirt > 0 then
    add("=1+1", "", '=HYPERLINK("http://evil.example","Quote")', "", "@evil@x.example", "", "", "", "N")
    add("900001", "", 'Müller & Söhne, "Haustechnik"\nZweigstelle', "", "info@mueller-soehne.example", "", "", "", "N")
    a.stored = a.stored + 2
  end
  return { csv = table.concat(out), account = a }
end

--- The locations file, alike. The last branch is missing: events name it all the same.
function master.locations(shop, dirt)
  local out <const>, a <const> = {}, { rows = 0, stored = 0, rejected = 0, duplicates = 0 }
  out[1] = row("Warehouse Code", "Warehouse Name", "City", "State", "Zip")
  for i = 1, #shop.branches - 1 do
    local b <const> = shop.branches[i]
    out[#out + 1] = row(b.id, b.name, b.city, b.state, b.zip)
    a.rows, a.stored = a.rows + 1, a.stored + 1
  end
  if dirt > 0 then
    out[#out + 1] = row("", "Closed - see Omaha", "Council Bluffs", "Iowa", "")
    a.rows, a.rejected = a.rows + 1, a.rejected + 1
  end
  return { csv = table.concat(out), account = a }
end

return master
