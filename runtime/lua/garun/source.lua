-- garun.source: what a load reads: files, globs of files, standard input, files of HTTPS and SFTP servers. Decompresses by
-- content, digests what was read.
--
-- A source is { uri, name, kind, size, mtime_ns, inode, open() }. open() gives a stream: stream() is the next chunk or
-- nil; at the end stream.digest is the XXH3-128 of the bytes as they are stored (before decompression), which detects
-- change, not forgery (check by hand with `xxhsum -H128`).

local crypto <const> = require "garun.crypto"
local errors <const> = require "garun.error"
local fs <const> = require "garun.fs"
local gzip <const> = require "garun.gzip"

local source <const> = {}

local chunk_bytes <const> = 512 << 10     -- a read costs two switches to a thread, whatever its size

local function fail(message, hint)
  error(errors.new { kind = "source", message = message, hint = hint }, 0)
end

-- A stream over a raw source function: digests, counts, and inflates when the first bytes say gzip.
local function stream(name, read, finish)
  local self <const> = { bytes = 0 }
  local hash <const> = crypto.xxh128()
  local first, peeked = nil, false
  local function raw()
    if peeked then
      local chunk <const> = first
      first, peeked = nil, false
      return chunk
    end
    local chunk <const> = read()
    if chunk then
      hash:update(chunk)
      self.bytes = self.bytes + #chunk
    elseif not self.digest then
      self.digest = hash:final()
      if finish then finish() end
    end
    return chunk
  end
  first = raw()
  peeked = true
  local pull = raw
  if first and gzip.is(first) then pull = gzip.reader(raw, { name = name }) end
  return setmetatable(self, { __call = function() return pull() end })
end

local function file_source(path)
  local stat <const> = fs.stat(path)
  if not stat then fail(path .. ": no such file") end
  if stat.type == "directory" then
    fail(path .. " is a directory", "name the files: '" .. path .. "/*.ndjson.gz'")
  end
  local regular <const> = stat.type == "file"
  return {
    uri = path, name = path, kind = regular and "file" or "pipe",
    size = regular and stat.size or nil, mtime_ns = regular and stat.mtime_ns or nil, inode = stat.inode,
    open = function()
      return stream(path, fs.source(path, { chunk = chunk_bytes }), function()
        -- A file that grows or is rewritten while it is read gives half of each: refuse it.
        local now <const> = fs.stat(path)
        if regular and (not now or now.size ~= stat.size or now.mtime_ns ~= stat.mtime_ns) then
          error(errors.new { kind = "source", retryable = true,
            message = path .. " changed while it was read; nothing was loaded from it",
            hint = "let the program that writes it finish (write aside, then rename), and run again" }, 0)
        end
      end)
    end,
  }
end

local function stdin_source()
  return { uri = "-", name = "standard input", kind = "stdin", open = function()
    return stream("standard input", fs.source("-"))
  end }
end

-- A source over HTTPS: the body as it comes, while it is loaded.
local function https_source(url)
  local shown <const> = url:gsub("^(%w+://)[^/@]*@", "%1"):gsub("[?#].*$", "")
  return { uri = shown, name = shown, kind = "https", open = function()
    local response <const> = require("garun.http").get(url, { stream = true, max_body = math.maxinteger, decompress = false })
    response:check()
    return stream(shown, function() return response:read() end, function() response:close() end)
  end }
end

-- A file of an SFTP server, by the options of sftp.connect and the path there.
function source.sftp(connect, path)
  local uri <const> = string.format("sftp://%s@%s%s/%s", connect.username, connect.host,
    connect.port and connect.port ~= 22 and ":" .. connect.port or "", (path:gsub("^/", "")))
  return { uri = uri, name = uri, kind = "sftp", open = function()
    local session <const> = require("garun.sftp").connect(connect)
    return stream(uri, session:source(path), function() session:close() end)
  end }
end

-- The tenant's own server is reached with the tenant's settings; others are not known here.
local function sftp_source(uri, rest, opts)
  local authority <const>, path <const> = rest:match("^([^/]+)(/.+)$")
  local user <const>, host <const>, port <const> = (authority or ""):match("^([^@]-)@?([^:@]+):?(%d*)$")
  if not host then fail(uri .. ": this is not sftp://[user@]host[:port]/path") end
  local settings <const> = opts.sftp and opts.sftp()
  local known <const> = settings and settings.connect
  if not known or known.host ~= host or user ~= "" and user ~= known.username
    or port ~= "" and tonumber(port) ~= (known.port or 22) then
    fail(uri .. ": no key or password for this server is known", "it must be the server of the tenant's sftp_config")
  end
  return source.sftp(known, path)
end

-- Text that is a source already: replay and tests feed rows this way.
function source.from_function(name, read)
  return { uri = name, name = name, kind = "function", open = function() return stream(name, read) end }
end

-- Expands what was asked for into sources, in a stable order, each file once. Raises for a file that is not there.
-- opts.sftp() gives the settings of the server that sftp:// may name.
function source.list(uris, opts)
  opts = errors.check_options("source.list", opts, { "sftp" })
  local list <const>, seen <const> = {}, {}
  local function add(s)
    if seen[s.uri] then return end
    seen[s.uri] = true
    list[#list + 1] = s
  end
  for _, uri in ipairs(uris) do
    local scheme <const>, rest <const> = uri:match("^(%a[%w+.-]*)://(.*)$")
    if uri == "-" then
      add(stdin_source())
    elseif scheme == "file" then
      add(file_source(rest))
    elseif scheme == "https" then
      add(https_source(uri))
    elseif scheme == "sftp" then
      add(sftp_source(uri, rest, opts))
    elseif scheme then
      fail("there is no source " .. scheme .. "://", "give a path, a glob, https://, sftp:// or -")
    elseif uri:find("[*?%[]") and not fs.exists(uri) then
      local found <const> = fs.glob(uri)
      if #found == 0 then fail("no file matches " .. uri) end
      for _, path in ipairs(found) do add(file_source(path)) end
    else
      add(file_source(uri))
    end
  end
  return list
end

return source
