---@meta garun.gzip
--- Compressed streams, as sources and sinks (see garun.fs).
---
---     local gzip <const> = require "garun.gzip"
---     for line in fs.lines(gzip.reader(fs.source("events.ndjson.gz"))) do ... end
---
---     local put <const> = gzip.writer(fs.sink("out.gz"))
---     put("text")
---     put(nil)                                       -- finishes both
---
--- Format "gzip" is RFC 1952 with any number of members and zero padding behind the last one, "zlib" RFC 1950, "raw"
--- bare deflate data (RFC 1951), "auto" whichever of them the first two bytes say.

local gzip = {}

--- Whether data begin like a gzip file.
---@param chunk string? at least two bytes
---@return boolean
---@nodiscard
function gzip.is(chunk) end

---@class garun.gzip.ReaderOptions
---@field format? "gzip"|"zlib"|"raw"|"auto" default "gzip"
---@field max_bytes? integer output beyond it raises code "max_bytes"; default none (gzip.decompress: 67108864)
---@field max_ratio? number output beyond 1 MiB and so many times the input raises code "max_ratio"; default none
---@field name? string what errors call the input, default "the input"

--- Decompresses a source; the result is a source of chunks of up to 256 KiB. Raises kind "gzip" with the byte of the
--- compressed input in its message: code "truncated", "checksum", "length", "data", "trailing" (something other than
--- zeros or a member behind the end) or "not_gzip", whose detail says what the input looks like instead. What came
--- before an error had no checksum yet: act on the end only.
---@param source garun.Source
---@param opts? garun.gzip.ReaderOptions
---@return garun.Source
---@nodiscard
function gzip.reader(source, opts) end

--- Decompresses a string. Errors as of gzip.reader.
---@param data string
---@param opts? garun.gzip.ReaderOptions
---@return string
---@nodiscard
function gzip.decompress(data, opts) end

---@class garun.gzip.WriterOptions
---@field level? integer 0 (stored) to 9 (smallest), default 6
---@field format? "gzip"|"zlib"|"raw" default "gzip"

--- A sink that compresses into another one. Finishing it finishes the other. The header has no name and no time: the
--- same bytes give the same file.
---@param sink garun.Sink
---@param opts? garun.gzip.WriterOptions
---@return garun.Sink
---@nodiscard
function gzip.writer(sink, opts) end

--- Compresses a string.
---@param data string
---@param opts? garun.gzip.WriterOptions
---@return string
---@nodiscard
function gzip.compress(data, opts) end

return gzip
