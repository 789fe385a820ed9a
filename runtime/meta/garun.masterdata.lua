---@meta garun.masterdata
--- Users and locations of a tenant, loaded from files: .xlsx, CSV or TSV, each also as .gz; what a file is is seen by its
--- content.
---
---     local masterdata <const> = require "garun.masterdata"
---     local r <const> = masterdata.load(nil, { kind = "users", path = "UserReport.xlsx" })
---     print(r.read, r.inserted, r.updated, r.unchanged, r.rejected)
---
--- The header is found by its names, without case, spaces and underscores, below any title rows. Users: CIMM_USER_ID or
--- USER_ID; BUYING_COMPANY_NAME or CUSTOMER_NAME; EMAIL_ADDRESS or EMAIL; CELL_PHONE or MOBILE_PHONE; PHONE_NUMBER or
--- OFFICE_PHONE. Locations: WAREHOUSE_CODE, LOCATION_ID or BRANCH_CODE; WAREHOUSE_NAME or LOCATION_NAME; CITY; STATE or
--- PROVINCE. Of several that are there, each row takes the first that is not blank.

local masterdata = {}

---@class garun.masterdata.Options
---@field kind "users"|"locations"
---@field path? string a file; or
---@field source? garun.Source of garun.source, or any table with uri, name and open() (of SFTP)
---@field tenant? string name or id; default: the only active tenant
---@field sheet? string of a workbook; default "User Report" or "Locations", else the first that is visible
---@field encoding? "auto"|"utf-8"|"windows-1252" of text without a byte order mark of UTF-16; default "auto": values that
---                 are no UTF-8 are taken for Windows-1252 and counted; "utf-8": they are an error
---@field job? table of garun.jobs: its id goes into rejects, and its fence is checked before COMMIT
---@field max_bytes? integer of a workbook as it is stored, default 1073741824
---@field max_shrink? number percent of the stored ids that the file may lack without a warning; default 50
---@field max_rejects? integer with max_reject_percent: beyond both nothing is stored; default 1000
---@field max_reject_percent? number default 1
---@field reject_file? string NDJSON file for rejected rows; they are in garun.rejects anyway
---@field on_progress? fun(result: garun.masterdata.Result) called every 1000 rows and at the end

---@class garun.masterdata.Reject
---@field row integer of the sheet, or line of the text
---@field column? string
---@field code "no_id"|"bad_id"|"too_long"|"fields"
---@field reason string
---@field raw string the row as CSV

---@class garun.masterdata.Result
---@field kind "users"|"locations"
---@field source string
---@field format "xlsx"|"csv"|"tsv"|"empty"
---@field sheet? string
---@field digest? string XXH3-128 of the file as it is stored, where the source says so
---@field read integer rows below the header that are not blank = inserted + updated + unchanged + duplicates + rejected
---@field inserted integer
---@field updated integer something in the row changed, updated_at moved
---@field unchanged integer
---@field duplicates integer rows whose id comes again further down; the last one counts
---@field rejected integer rows without an id, with one that is too long, or with more fields than the header
---@field cut integer values that were longer than their column
---@field repaired integer values that were no UTF-8 or had zero bytes
---@field rejects garun.masterdata.Reject[] the first 20
---@field warnings string[] unknown and missing columns, duplicates, a file that shrank, ...
---@field seconds number

--- Loads one file in one transaction: it is stored as a whole, or not at all. Rows are inserted or updated, never deleted: an
--- empty file, or one that lost half of its rows, only gets a warning. Inside a transaction of the caller's it is a savepoint.
---
--- Raises kind "masterdata": code "header" (the names seen and wanted), "format", "encoding", "plugin", "table",
--- "max_bytes"; kind "guard" for too many rejects; kind "xlsx", "csv", "gzip", "source", "pg" as they come.
---@async
---@param db? pg.Conn|pg.Settings|string a connection, or what pg.connect takes
---@param opts garun.masterdata.Options
---@return garun.masterdata.Result
function masterdata.load(db, opts) end

return masterdata
