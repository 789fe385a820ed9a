-- shop: the distributor that does not exist: branches, catalogue, customers. All of it follows from the seed.
-- Host names end in .example and telephone numbers are 555-01xx, which belong to nobody (RFC 2606, NANPA).

local random <const> = require "generator.random"

local shop <const> = {}

local NAMES <const> = { "Prairie Industrial Supply", "Great Lakes Fluid & Air", "Ozark Mechanical Supply",
  "Tri-Rivers Pipe & Controls", "Northern Plains Supply" }

-- name, city, state, GA4's metro; how much business a branch does falls from top to bottom.
local BRANCHES <const> = {
  { "Omaha - 84th Street", "Omaha", "Nebraska", "Omaha NE" },
  { "Kansas City - North", "Kansas City", "Missouri", "Kansas City MO" },
  { "Des Moines", "Des Moines", "Iowa", "Des Moines-Ames IA" },
  { "St. Louis - Riverside", "St. Louis", "Missouri", "St. Louis MO" },
  { "Minneapolis - Northeast", "Minneapolis", "Minnesota", "Minneapolis-St. Paul MN" },
  { "Chicago - Elk Grove", "Elk Grove Village", "Illinois", "Chicago IL" },
  { "Wichita", "Wichita", "Kansas", "Wichita-Hutchinson KS" },
  { "Tulsa", "Tulsa", "Oklahoma", "Tulsa OK" },
  { "Sioux Falls", "Sioux Falls", "South Dakota", "Sioux Falls(Mitchell) SD" },
  { "Lincoln", "Lincoln", "Nebraska", "Lincoln & Hastings-Kearney NE" },
  { "Davenport - Quad Cities", "Davenport", "Iowa", "Davenport IA-Rock Island-Moline IL" },
  { "Madison", "Madison", "Wisconsin", "Madison WI" },
  { "Little Rock", "Little Rock", "Arkansas", "Little Rock-Pine Bluff AR" },
  { "Fargo", "Fargo", "North Dakota", "Fargo-Valley City ND" },
  { "Springfield", "Springfield", "Missouri", "Springfield MO" },
  { "Cedar Rapids", "Cedar Rapids", "Iowa", "Cedar Rapids-Waterloo-Iowa City IA" },
  { "Oklahoma City", "Oklahoma City", "Oklahoma", "Oklahoma City OK" },
  { "Topeka", "Topeka", "Kansas", "Topeka KS" },
  { "Peoria", "Peoria", "Illinois", "Peoria-Bloomington IL" },
  { "Duluth", "Duluth", "Minnesota", "Duluth MN-Superior WI" },
  { "Grand Island", "Grand Island", "Nebraska", "Lincoln & Hastings-Kearney NE" },
  { "Bismarck", "Bismarck", "North Dakota", "Minot-Bismarck-Dickinson ND" },
  { "La Crosse", "La Crosse", "Wisconsin", "La Crosse-Eau Claire WI" },
  { "Coeur d'Alène Depot", "Coeur d'Alene", "Idaho", "Spokane WA" },
}

-- Category, SKU prefix, brands, kinds (also what people search for), sizes, price of the smallest in cents, step.
local FAMILIES <const> = {
  { "Valves", "VLV", { "Keystone", "Apollo", "NIBCO" },
    { "Ball Valve", "Gate Valve", "Check Valve", "Butterfly Valve", "Globe Valve" },
    { '1/4"', '1/2"', '3/4"', '1"', '1-1/2"', '2"', '3"', '4"' }, 890, 1475 },
  { "Pipe & Fittings", "PIP", { "Charlotte", "Viega", "Mueller" },
    { "Copper Elbow 90°", "Black Iron Tee", "PVC Coupling Sch 80", "Press Reducer", "Brass Nipple" },
    { '3/8"', '1/2"', '3/4"', '1"', '1-1/4"', '2"' }, 139, 310 },
  { "Pumps", "PMP", { "Grundfos", "Bell & Gossett", "Taco" },
    { "Circulator Pump", "Sump Pump", "Condensate Pump", "Booster Pump" },
    { "1/25 HP", "1/6 HP", "1/2 HP", "1 HP", "3 HP" }, 11890, 18250 },
  { "HVAC", "HVC", { "Honeywell", "White-Rodgers", "Goodman" },
    { "Thermostat", "Pleated Filter MERV 13", "Contactor", "Condenser Fan Motor", "Run Capacitor" },
    { "16x20x1", "20x25x4", "24 V", "208/230 V", "5 µF", "45/5 µF" }, 1249, 2890 },
  { "Water Heaters", "WHT", { "Bradford White", "Rheem" },
    { "Gas Water Heater", "Electric Water Heater", "Tankless Water Heater" },
    { "30 gal", "40 gal", "50 gal", "75 gal" }, 54900, 21750 },
  { "Electrical", "ELC", { "Square D", "Leviton", "Eaton" },
    { "Circuit Breaker", "Disconnect Switch", "THHN Wire 500 ft", "EMT Conduit 10 ft", "GFCI Receptacle" },
    { "15 A", "20 A", "30 A", "60 A", "100 A" }, 675, 2310 },
  { "Fasteners", "FST", { "Hillman", "Simpson Strong-Tie" },
    { "Hex Bolt Grade 8", "Lag Screw", "Wedge Anchor", "Threaded Rod", "Flat Washer" },
    { "1/4-20 x 1\"", "3/8-16 x 2\"", "1/2-13 x 4\"", "M8 x 30", "M12 x 60" }, 24, 187 },
  { "Safety", "SFT", { "3M", "Ansell", "Pyramex" },
    { "Nitrile Gloves", "Safety Glasses", "Hearing Protection", "Respirator", "Hi-Vis Vest" },
    { "S", "M", "L", "XL", "XXL" }, 399, 265 },
  { "Tools", "TLS", { "Milwaukee", "RIDGID", "Klein" },
    { "Press Tool Kit", "Pipe Wrench", "Tubing Cutter", "Impact Driver", "Insulated Screwdriver" },
    { '6"', '10"', '14"', '18"', "M18™" }, 2190, 6240 },
  { "Hydraulics", "HYD", { "Parker", "Gates", "Enerpac" },
    { "Hydraulic Hose Assembly", "Quick Coupler", "O-Ring Kit", "Pressure Gauge 0-3000 psi" },
    { '1/4"', '3/8"', '1/2"', '3/4"', '1"' }, 780, 3390 },
}

local SURNAMES <const> = { "Anderson", "Becker", "Castillo", "Dvořák", "Eriksen", "Fischer", "García", "Hansen",
  "Ito", "Jensen", "Kowalski", "Larson", "Müller", "Nguyen", "O'Brien", "Petersen", "Quist", "Reyes", "Schmidt",
  "Thompson", "Ulrich", "Vance", "Wozniak", "Yoder", "Zimmerman" }
local GIVEN <const> = { "Amy", "Ben", "Carla", "Dale", "Elena", "Frank", "Grace", "Hector", "Irene", "Joe", "Karen",
  "Luis", "Megan", "Nate", "Olga", "Pat", "Ruth", "Sam", "Tina", "Wade" }
local TRADES <const> = { "Mechanical", "Plumbing & Heating", "Electric", "HVAC Services", "Construction",
  "Fabrication", "Farms", "Facility Services", "Foods", "School District" }
local FORMS <const> = { "Inc.", "LLC", "Co.", "& Sons", "Group" }

local PLAIN <const> = { ["ř"] = "r", ["á"] = "a", ["í"] = "i", ["ü"] = "u", ["è"] = "e" }

-- Lower case without accents, for addresses.
local function plain(text)
  return (text:lower():gsub("[\xc2-\xdf][\x80-\xbf]", PLAIN))
end

local function slug(text)
  return (plain(text):gsub("[^%w]+", "-"):gsub("^%-", ""):gsub("%-$", ""))
end

local function ascii(text)
  return (plain(text):gsub("[^%w]", ""))
end

local function catalogue(seed)
  local products <const> = {}
  for f, family in ipairs(FAMILIES) do
    local category <const>, prefix <const>, brands <const>, kinds <const>, sizes <const> = table.unpack(family, 1, 5)
    local r <const> = random.new(seed, "catalogue", f)
    for k, kind in ipairs(kinds) do
      for s, size in ipairs(sizes) do
        local brand <const> = r:pick(brands)
        local name <const> = ("%s %s %s"):format(brand, kind, size)
        local id <const> = ("%s-%05d"):format(prefix, 10000 + k * 1000 + s * 10 + r:int(0, 9))
        products[#products + 1] = {
          id = id, name = name, brand = brand, variant = size, category = category, kind = kind,
          cents = family[6] + family[7] * (s - 1) + r:int(0, family[7]),
          path = ("/p/%s/%s"):format(id, slug(name)),
          title = name .. " | " .. category,
        }
      end
    end
  end
  return products
end

local function branches(seed)
  local r <const> = random.new(seed, "branches")
  local list <const> = {}
  for i, b in ipairs(BRANCHES) do
    list[i] = { id = ("D%02d"):format(i), name = b[1], city = b[2], state = b[3], metro = b[4],
          zip = ("%05d"):format(r:int(50000, 69999)) }
  end
  return list
end

-- Customers are contacts: several may belong to one company. Ids are text; some have leading zeros that must survive.
local function customers(seed, count, list)
  local people <const> = {}
  for i = 1, count do
    local company <const> = random.new(seed, "company", i - i % 3)
    local r <const> = random.new(seed, "customer", i)
    local given <const>, surname <const> = r:pick(GIVEN), r:pick(SURNAMES)
    local name <const> = ("%s %s %s"):format(company:pick(SURNAMES), company:pick(TRADES), company:pick(FORMS))
    local number <const> = 10000 + i * 7 + r:int(0, 6)
    people[i] = {
      id = r:chance(0.06) and ("00%d"):format(number) or ("%d"):format(number),
      company = name,
      email = ("%s.%s%d@%s.example"):format(ascii(given), ascii(surname), i, slug(name)),
      cell = ("402-555-01%02d"):format(r:int(0, 99)),
      office = ("%d-555-01%02d"):format(company:int(302, 918), company:int(0, 99)),
      branch = list[company:skewed(#list)],
    }
  end
  return people
end

--- The whole shop.
---@param seed integer
---@param count integer  customers with a login
function shop.new(seed, count)
  local r <const> = random.new(seed, "shop")
  local name <const> = NAMES[1 + seed % #NAMES]
  local s <const> = {
    seed = seed,
    name = name,
    host = "www." .. slug(name) .. ".example",
    stream = tostring(r:int(1000000000, 4294967295)),
    products = catalogue(seed),
    branches = branches(seed),
    by_kind = {},
  }
  s.customers = customers(seed, count, s.branches)
  for _, p in ipairs(s.products) do
    local kind <const> = s.by_kind[p.kind] or {}
    kind[#kind + 1] = p
    s.by_kind[p.kind] = kind
  end
  return s
end

return shop
