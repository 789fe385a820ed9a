---@meta garun.http
--- HTTP and HTTPS requests (1.1 and 2): connections are kept, certificates verified, everything bounded.
---
---     local http <const> = require "garun.http"
---     local shop <const> = http.get("https://api.example.com/shops", { query = { country = "DE" } }):check():json()
---     http.post("https://api.example.com/orders", { json = { id = 7 }, bearer = token }):check()
---
---     local r <close> = http.get(url, { stream = true })
---     for line in require("garun.fs").lines(r:chunks()) do ... end
---
---     http.download(url, "export.csv.gz", { sha256 = digest })
---
--- Any status is a response; r:check() raises for those that are not 2xx. A transfer that fails raises kind "http":
---
--- - "dns", "connect", "proxy", "tls": no connection (connect_timeout, too); "timeout": timeout is over; "stall": no byte
---   for stall_timeout; "cut": the connection or the compressed body ended too early
--- - "too_large": more than max_body; "encoding": the body cannot be decompressed; "unframed": nothing proves that the body
---   is whole (see allow_unframed); "protocol": no proper HTTP; "json": r:json() found none
--- - "redirect": too many, from https to http, or with a body that cannot be sent again; "host_not_allowed"; "url"
--- - "HTTP 404" and the like: by r:check(); "closed", "busy": the response is closed, or another task reads it
---
--- e.retryable tells whether the same request may succeed later. Header names and values with line ends are refused.
--- Texts show URLs without user, and parameters with names like token, key or signature without their values. Certificate
--- verification cannot be switched off; proxies of the environment count only with proxy = "env"; cookies and .netrc
--- do not exist.

local http = {}

---@class garun.http.Retry
---@field attempts? integer the first one included, 1 to 100, default 4
---@field base? number seconds: attempt n waits a random time up to base * 2^(n-1), default 0.5
---@field max? number seconds, the most of such a wait, default 60; a longer Retry-After ends the attempts
---@field on? integer[] statuses, default { 408, 429, 500, 502, 503, 504 }

---@class garun.http.Shared
---@field headers? table<string, string|number|string[]|false> false: not sent. Accept-Encoding is up to decompress
---@field timeout? number seconds for all of it, with redirects, retries and the reading of a streamed body; default none
---@field connect_timeout? number seconds for name, connection and TLS, default 10
---@field stall_timeout? number seconds without a byte in either direction, default 60; slow readers do not count
---@field max_redirects? integer default 10; 0: the redirect itself is the response. To another scheme, host or port no
---                     credentials are carried: Authorization, Cookie, headers with such names, client certificates
---@field max_body? integer bytes, decompressed, default 67108864; a streamed body and a download have no bound by default
---@field retry? garun.http.Retry|boolean false: one attempt. Default: GET, HEAD, PUT, DELETE, OPTIONS and requests with
---                     idempotent or an Idempotency-Key are repeated on statuses of `on` and when the transfer failed but
---                     may succeed later; others only when this is a table. A body from a function is never repeated
---@field decompress? boolean gzip and deflate, several members too; default true; false: nothing is asked for nor undone
---@field allow_unframed? boolean true: take bodies whose end is proven by nothing (HTTP/1.0); default false
---@field allow_hosts? string[] "api.example.com", "*.example.com", "localhost:8080"; checked at every redirect, too
---@field user_agent? string default "garun"
---@field basic_auth? string[] { user, password }
---@field bearer? string|fun(): string a token, or a function that is asked for one at each attempt
---@field ca? string path or PEM text of the CAs to trust instead of the system's
---@field cert? string path or PEM text of a client certificate; with key
---@field key? string
---@field key_password? string
---@field proxy? string "http://user:password@host:3128", also https, socks5, socks5h; "env": http_proxy and its kin
---@field no_proxy? string|string[] hosts that are asked directly
---@field http2? boolean false: HTTP/1.1 only; default true for https. Streamed bodies and downloads always come by 1.1,
---                     where a slow reader slows down nobody else

---@class garun.http.Part
---@field name? string
---@field content? string|number|boolean
---@field file? string path, instead of content; read while it is sent
---@field filename? string default: the name of file
---@field type? string content type, for a file "application/octet-stream"

---@class garun.http.Options: garun.http.Shared
---@field query? string|table added to the URL: { a = 1, b = { 2, 3 } }, or { { "a", 1 }, { "b", 2 } } to keep the order
---@field json? any the body, as JSON; json.null for null
---@field form? table the body, as application/x-www-form-urlencoded; as query
---@field multipart? table<string, string|number|boolean|garun.http.Part>|garun.http.Part[] multipart/form-data
---@field body? string|garun.Source|garun.fs.File an open file is sent from where it stands
---@field stream? boolean true: r is given back with the head; its body is read by the caller; default false
---@field idempotent? boolean the request may be repeated; default by its method

---@class garun.http.Request: garun.http.Options
---@field url? string http or https; with a base_url it may be a path below it
---@field method? string default "GET"

---@class garun.http.Response
---@field status integer
---@field headers table<string, string|string[]> looked up in any case; repeated ones joined with ", ", set-cookie a list
---@field version string "1.1", "2"
---@field url string after redirects, without user
---@field method string after redirects
---@field body? string unless it streams
---@field attempts integer
---@field redirects integer
local Response = {}

--- Raises unless the status is 2xx: code "HTTP 404", the first bytes of the body as detail, secrets taken out.
---@return garun.http.Response self
function Response:check() end

--- The body as JSON, whatever its content type. Raises code "json".
---@async
---@param opts? garun.json.DecodeOptions
---@return any
---@nodiscard
function Response:json(opts) end

--- The whole body, or what is left of it when it streams.
---@async
---@param max? integer bytes of a body that streams, default 67108864; more raises code "too_large"
---@return string
---@nodiscard
function Response:text(max) end

--- The next bytes; nil at the end, which is a proven one. While nobody reads, the server waits.
---@async
---@param n? integer at most so many bytes
---@return string?
---@nodiscard
function Response:read(n) end

--- A source of the body; `for` closes the response when it is left early.
---@param n? integer bytes of a chunk at most
---@return garun.Source
---@return nil
---@return nil
---@return garun.http.Response
function Response:chunks(n) end

--- Gives it up; a connection in the middle of a body is closed. `local r <close>` does it too.
function Response:close() end

--- Makes a request.
---@async
---@param opts garun.http.Request
---@return garun.http.Response
function http.request(opts) end

--- GET.
---@async
---@param url string
---@param opts? garun.http.Options
---@return garun.http.Response
---@nodiscard
function http.get(url, opts) end

--- HEAD: the headers of a GET.
---@async
---@param url string
---@param opts? garun.http.Options
---@return garun.http.Response
---@nodiscard
function http.head(url, opts) end

--- POST.
---@async
---@param url string
---@param opts? garun.http.Options
---@return garun.http.Response
function http.post(url, opts) end

--- PUT.
---@async
---@param url string
---@param opts? garun.http.Options
---@return garun.http.Response
function http.put(url, opts) end

--- PATCH.
---@async
---@param url string
---@param opts? garun.http.Options
---@return garun.http.Response
function http.patch(url, opts) end

--- DELETE.
---@async
---@param url string
---@param opts? garun.http.Options
---@return garun.http.Response
function http.delete(url, opts) end

---@class garun.http.DownloadOptions: garun.http.Shared
---@field query? string|table
---@field sha256? string hexadecimal; checked before the file gets its name, code "checksum"
---@field progress? fun(done: integer, total?: integer) bytes; called now and then and at the end
---@field progress_interval? number seconds, default 0.25
---@field resume? boolean false: begin anew, leave nothing behind; default true
---@field sync? boolean false: do not wait until it is on the disk; default true

---@class garun.http.Download
---@field path string
---@field bytes integer
---@field status integer 200, or 206 when it was continued
---@field url string after redirects
---@field etag? string
---@field last_modified? string
---@field resumed_from? integer bytes that were there

--- Puts a body into a file, which appears whole or not at all; status other than 2xx raises as r:check() does.
---
--- The bytes go to PATH.part. A transfer that is cut is continued there (Range), now or by the next call, for as long as
--- the server has the same version: a strong ETag or a Last-Modified date (RFC 9110, 13.1.5) is kept in PATH.part.json.
--- Without such a proof, or after a reboot, it begins anew. A second download to the same path raises code "locked".
---@async
---@param url string
---@param path string
---@param opts? garun.http.DownloadOptions
---@return garun.http.Download
function http.download(url, path, opts) end

---@class garun.http.ClientOptions: garun.http.Shared
---@field base_url? string what relative URLs of its requests are below of
---@field max_connections? integer requests at a time, default 100; the others wait
---@field per_host? integer requests at a time to one server, default max_connections

---@class garun.http.Client
local Client = {}

--- As http.request, with the client's options where the request has none. get, head, post, put, patch, delete and
--- download do the same.
---@async
---@param opts garun.http.Request
---@return garun.http.Response
function Client:request(opts) end

--- Ends its requests with code "closed" and closes its connections. `local c <close>` does it too.
function Client:close() end

--- Makes a client with connections of its own and options for all its requests.
---
---     local api <close> = http.client { base_url = "https://api.example.com/v2", bearer = token, ca = "/etc/shop/ca.pem" }
---     api:get("/orders"):check()
---@param opts? garun.http.ClientOptions
---@return garun.http.Client
---@nodiscard
function http.client(opts) end

return http
