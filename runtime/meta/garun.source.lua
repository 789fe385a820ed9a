---@meta garun.source
--- What a load reads. A source opens to a stream: a callable that gives the next chunk of bytes, decompressed, or nil at the
--- end; stream.digest is then the XXH3-128 of the stored bytes.
local source = {}

--- A file, standard input or a function.
---@class garun.Source
---@field uri string
---@field name string for messages
---@field kind "file"|"pipe"|"stdin"|"function"|"https"|"sftp"|"bigquery" a pipe, standard input and a function can be read once
---@field size? integer bytes as stored, of files
---@field mtime_ns? integer nanoseconds since the epoch, of files
---@field inode? integer
---@field open fun(): fun(): string?

--- Expands paths, globs, https:// and sftp:// URIs and "-" into sources, each once, globs sorted. Raises (kind "source") for a
--- file that is not there and a glob without a match. Files of servers are opened when they are read.
---@param uris string[]
---@param opts? { sftp?: fun(): table } what tenant.service gives for the SFTP server that sftp:// may name
---@return garun.Source[]
function source.list(uris) end

--- A file of an SFTP server, opened when it is read.
---@param connect table options of sftp.connect
---@param path string absolute, or from where the server puts the user
---@return garun.Source
function source.sftp(connect, path) end

--- A source over a function that gives chunks and, at the end, nil.
---@param name string
---@param read fun(): string?
---@return garun.Source
function source.from_function(name, read) end

return source
