---@meta garun.crypto
--- Digests, message authentication, random bytes, and bytes as text. OpenSSL does the cryptography.
---
---     local crypto <const> = require "garun.crypto"
---     crypto.sha256 "abc"                                          --> "ba7816bf..."
---     local d <close> = crypto.sha256()
---     for chunk in file:chunks() do d:update(chunk) end
---     print(d:final())

local crypto = {}

---@alias garun.crypto.Form "hex"|"raw"|"base64" how a digest is given: lower-case hex (default), bytes, base64

---@class garun.crypto.Digest
local Digest = {}

--- Adds data. Raises when the digest is finished or closed.
---@param data string
---@return garun.crypto.Digest self
function Digest:update(data) end

--- Ends the digest and gives it. Once only.
---@param form? garun.crypto.Form
---@return string
function Digest:final(form) end

--- Gives the digest's memory back. Closing twice is allowed.
function Digest:close() end

--- SHA-256 of data or, without arguments, a digest object. nil as data is an error.
---@param data string
---@param form? garun.crypto.Form
---@return string
---@overload fun(): garun.crypto.Digest
---@nodiscard
function crypto.sha256(data, form) end

--- SHA-512, as crypto.sha256.
---@param data string
---@param form? garun.crypto.Form
---@return string
---@overload fun(): garun.crypto.Digest
---@nodiscard
function crypto.sha512(data, form) end

--- SHA-1, for protocols that demand it: it is broken for signatures. As crypto.sha256.
---@param data string
---@param form? garun.crypto.Form
---@return string
---@overload fun(): garun.crypto.Digest
---@nodiscard
function crypto.sha1(data, form) end

--- HMAC-SHA-256 (RFC 2104) of data or, without data, a digest object. Compare codes with crypto.equal.
---@param key string
---@param data string
---@param form? garun.crypto.Form
---@return string
---@overload fun(key: string): garun.crypto.Digest
---@nodiscard
function crypto.hmac_sha256(key, data, form) end

--- XXH3, 128 bits, as xxhsum -H128 prints it. Very fast and not cryptographic: it detects change, not forgery. Used as
--- crypto.sha256.
---@param data string
---@param form? garun.crypto.Form
---@return string
---@overload fun(): garun.crypto.Digest
---@nodiscard
function crypto.xxh128(data, form) end

--- n bytes that nobody can guess, for keys and tokens.
---@param n integer 1 to 1048576
---@return string bytes
---@nodiscard
function crypto.random(n) end

--- Compares two strings in a time that depends on their lengths only, so that an attacker learns nothing from it.
---@param a string
---@param b string
---@return boolean
---@nodiscard
function crypto.equal(a, b) end

--- Signs data. RS256 is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518), for JSON web tokens; the key is an RSA key of 2048 to
--- 16384 bits in PEM, PKCS#8 or PKCS#1, without a passphrase. Raises kind "crypto", code "key" for another one; no error
--- quotes it.
---@param algorithm "RS256"
---@param key string private key in PEM
---@param data string
---@return string signature raw bytes
---@nodiscard
function crypto.sign(algorithm, key, data) end

--- Base64 with padding, on one line (RFC 4648).
---@param bytes string
---@return string text
---@nodiscard
function crypto.base64_encode(bytes) end

--- Reads base64. Strict: white space, wrong padding and damaged ends raise kind "crypto", code "base64".
---@param text string
---@return string bytes
---@nodiscard
function crypto.base64_decode(text) end

--- Base64 for URLs and tokens: - and _ for + and /, no padding (RFC 4648, 5).
---@param bytes string
---@return string text
---@nodiscard
function crypto.base64url_encode(bytes) end

--- Reads base64url, without or with right padding. Strict as crypto.base64_decode.
---@param text string
---@return string bytes
---@nodiscard
function crypto.base64url_decode(text) end

--- Bytes as lower-case hexadecimal digits.
---@param bytes string
---@return string text
---@nodiscard
function crypto.hex_encode(bytes) end

--- Reads hexadecimal digits of either case. Raises kind "crypto", code "hex" for anything else.
---@param text string
---@return string bytes
---@nodiscard
function crypto.hex_decode(text) end

return crypto
