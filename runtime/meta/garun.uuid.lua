---@meta garun.uuid
--- UUIDs (RFC 9562) as lower-case text of 36 characters.
---
---     local uuid <const> = require "garun.uuid"
---     local id = uuid.v7()                       --> "0191e0b0-5a1c-7b5f-9c3a-0123456789ab"

local uuid = {}

--- The UUID whose bytes are all zero.
uuid.null = "00000000-0000-0000-0000-000000000000"

--- A random one.
---@return string
---@nodiscard
function uuid.v4() end

--- One that begins with the time, so that those of a process sort in the order of their making and an index over them
--- grows at its end. Unique, not secret: tokens are made with crypto.random.
---@return string
---@nodiscard
function uuid.v7() end

--- The usual text of a UUID in any of the forms that PostgreSQL reads: upper case, 32 digits, {...}, urn:uuid:....
--- Raises kind "uuid", code "syntax" for other texts.
---@param text string
---@return string
---@nodiscard
function uuid.parse(text) end

--- The 16 bytes of a UUID. Raises as uuid.parse.
---@param text string
---@return string bytes
---@nodiscard
function uuid.bytes(text) end

--- The text for 16 bytes. Raises kind "usage" for another length.
---@param bytes string
---@return string text
---@nodiscard
function uuid.format(bytes) end

--- Tells whether v is a string that uuid.parse accepts.
---@param v any
---@return boolean
---@nodiscard
function uuid.is(v) end

--- The version, 0 to 15. Raises as uuid.parse.
---@param text string
---@return integer
---@nodiscard
function uuid.version(text) end

--- When a version 7 was made, in seconds since 1970 with milliseconds. Raises kind "uuid", code "version" for others.
---@param text string
---@return number seconds
---@nodiscard
function uuid.time(text) end

return uuid
