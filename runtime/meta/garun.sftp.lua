---@meta garun.sftp
--- Files on an SFTP server.
---
---     local sftp <const> = require "garun.sftp"
---     local s <close> = sftp.connect { host = "files.example.com", username = "acme", private_key_file = "keys/acme",
---                                      host_key = "SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8" }
---     for e in s:list("outgoing", { sort = true }) do print(e.name, e.size) end
---     s:get("outgoing/users.xlsx", "in/users.xlsx")
---     s:put("report.csv", "incoming/report.csv")
---
--- Errors have kind "sftp". code is "SFTP_NO_SUCH_FILE", "SFTP_PERMISSION_DENIED" ... for what the server refused (the
--- status names of draft-ietf-secsh-filexfer-02 and -13), or AUTH_FAILED, HOST_KEY_UNKNOWN, HOST_KEY_CHANGED,
--- HOST_KEY_REVOKED, KEX_FAILURE, NOT_SSH, NO_SFTP, KEY_FILE, AGENT, HOST_NOT_FOUND, CUT (the connection ended), TIMEOUT,
--- CHANGED (a file changed while it was copied), SHORT, SYMLINK, IS_DIRECTORY, NOT_A_FILE, UNSAFE_NAME, DIGEST, EFBIG,
--- PROTOCOL, closed, or an errno's name. retryable tells whether the same call may succeed later.
---
--- Any number of tasks may use one session at a time; their requests are under way together. A task that is cancelled
--- gives up its answer only. After CUT, TIMEOUT or PROTOCOL the session is closed, and every later call says why.
---
--- SSH is done by libssh2 1.10, which has limits: keys are ed25519 or ecdsa (RSA is signed with SHA-1, which OpenSSH
--- refuses since 8.8), no chacha20, no ETM. curve25519, ecdh or dh-sha2; aes-ctr; hmac-sha2 are asked for.

local sftp = {}

---@class garun.sftp.ConnectOptions
---@field host string a name or an address
---@field port? integer default 22
---@field username string
---@field password? string also answers a server that asks for it interactively
---@field private_key? string its text, PEM or OpenSSH form
---@field private_key_file? string its path
---@field passphrase? string of that key
---@field agent? boolean|string true: the keys of the SSH agent (SSH_AUTH_SOCK); or the path of its socket
---@field host_key? string|string[] the host's key: a fingerprint as `ssh-keygen -lf` prints it ("SHA256:..."), or the line of
---                                 its .pub file; of several one must match
---@field known_hosts? string path of a file as ~/.ssh/known_hosts, hashed names too; certificates are not supported
---@field connect_timeout? number seconds for all of connecting, above 0 to 3600, default 10
---@field timeout? number seconds without a byte of the answer that ends the session, above 0 to 86400, default 60
---@field compression? boolean default false

--- Opens a session. Of private key, agent and password those that are given are tried in that order; a server may want
--- two. Without a matching host_key or known_hosts nothing is sent, and the error shows the fingerprint that was seen.
---@async
---@param opts garun.sftp.ConnectOptions
---@return garun.sftp.Session
---@nodiscard
function sftp.connect(opts) end

--- The fingerprint of a public key line: "SHA256:...".
---@param public_key string "ssh-ed25519 AAAA..."
---@return string
---@nodiscard
function sftp.fingerprint(public_key) end

---@class garun.sftp.Session
local Session = {}

--- Ends the session; does not wait. Closing twice is allowed; `local s <close>` does it too.
function Session:close() end

--- "open" or "closed".
---@return string
---@nodiscard
function Session:status() end

--- What was agreed upon with the server: kex, host_key, cipher, mac, compression, and server (its banner).
---@return table<string, string>
---@nodiscard
function Session:methods() end

---@class garun.sftp.Stat
---@field type "file"|"directory"|"link"|"fifo"|"socket"|"character device"|"block device"|"unknown"
---@field size? integer bytes
---@field mtime? integer seconds since 1970
---@field atime? integer seconds since 1970
---@field mode? integer permission bits
---@field uid? integer
---@field gid? integer

---@class garun.sftp.Entry: garun.sftp.Stat
---@field name string as the server sent it: never make a local path of it, session:get_all does it safely

---@class garun.sftp.ListOptions
---@field sort? boolean true: by name, at most 1000000 names; default false: as the server sends them

--- The entries of a directory without "." and "..", one a call. Left early, the directory is closed by the fourth value.
---@async
---@param path string
---@param opts? garun.sftp.ListOptions
---@return fun(): garun.sftp.Entry?
---@return nil
---@return nil
---@return table?
function Session:list(path, opts) end

--- What is at the path, symbolic links followed; nil when there is nothing.
---@async
---@param path string
---@return garun.sftp.Stat?
---@nodiscard
function Session:stat(path) end

--- The same of a symbolic link itself.
---@async
---@param path string
---@return garun.sftp.Stat?
---@nodiscard
function Session:lstat(path) end

--- Whether something is at the path.
---@async
---@param path string
---@return boolean
---@nodiscard
function Session:exists(path) end

--- The absolute path as the server sees it.
---@async
---@param path string
---@return string
---@nodiscard
function Session:realpath(path) end

--- What a symbolic link points to.
---@async
---@param path string
---@return string
---@nodiscard
function Session:readlink(path) end

---@class garun.sftp.MkdirOptions
---@field parents? boolean true: directories above are made as needed and one that exists is fine; default false
---@field mode? string|integer default "0777", less the server's umask

--- Makes a directory.
---@async
---@param path string
---@param opts? garun.sftp.MkdirOptions
function Session:mkdir(path, opts) end

---@class garun.sftp.RemoveOptions
---@field missing_ok? boolean true: nothing there is no error; default false

--- Removes a file or a symbolic link.
---@async
---@param path string
---@param opts? garun.sftp.RemoveOptions
---@return boolean removed false when there was nothing
function Session:remove(path, opts) end

--- Removes an empty directory.
---@async
---@param path string
---@param opts? garun.sftp.RemoveOptions
---@return boolean removed false when there was nothing
function Session:rmdir(path, opts) end

---@class garun.sftp.RenameOptions
---@field overwrite? boolean true: replaces what is there, in one step where the server has posix-rename@openssh.com, else
---                          by removing it first; default false: an error

--- Renames.
---@async
---@param from string
---@param to string
---@param opts? garun.sftp.RenameOptions
function Session:rename(from, to, opts) end

--- Sets the permissions.
---@async
---@param path string
---@param mode string|integer octal text like "0640"
function Session:chmod(path, mode) end

---@class garun.sftp.GetOptions
---@field resume? boolean true: what came is kept beside when it is cut (".NAME.MTIME-SIZE.part"), and the next get with
---                       resume goes on from there if the file on the server is the same; default false
---@field progress? fun(bytes: integer, size: integer) called about ten times a second and at the end; may raise to stop
---@field preserve_mtime? boolean default false
---@field sha256? boolean|string true: computed; 64 hexadecimal digits: an error unless they match (code "DIGEST")
---@field follow? boolean true: a symbolic link on the server is followed; default false: an error (code "SYMLINK")
---@field mode? string|integer permissions; default those of the file that is replaced, else "0666" less the umask
---@field sync? boolean default true: waits until it is on the disk

---@class garun.sftp.Copied
---@field bytes integer the file's size
---@field mtime? integer seconds since 1970
---@field resumed? integer bytes that were there from before
---@field sha256? string when it was asked for

--- Gets a file. It is written beside its place and renamed when it is whole: of the size it had, and the same size and
--- time on the server after it was read (else code "SHORT" or "CHANGED"). A symbolic link in its place is replaced, never
--- written through.
---@async
---@param remote string
---@param to string path of the local file
---@param opts? garun.sftp.GetOptions
---@return garun.sftp.Copied
function Session:get(remote, to, opts) end

---@class garun.sftp.PutOptions
---@field atomic? boolean default true: under a temporary name beside it, then renamed; false: in place
---@field resume? boolean true: what arrived is kept when it is cut, and the next put with resume of the same file goes on
---                       from there; default false
---@field mode? string|integer permissions; default those of the local file, less the server's umask
---@field progress? fun(bytes: integer, size: integer) as of get; counts what the server has acknowledged
---@field preserve_mtime? boolean default false
---@field sync? boolean default true: asks for fsync where the server has fsync@openssh.com

--- Puts a file. Whoever looks finds the old file or the whole new one.
---@async
---@param from string path of the local file
---@param remote string
---@param opts? garun.sftp.PutOptions
---@return garun.sftp.Copied
function Session:put(from, remote, opts) end

---@class garun.sftp.PutStringOptions
---@field atomic? boolean default true
---@field mode? string|integer default "0644", less the server's umask
---@field sync? boolean default true

--- Makes data the content of a file, as put.
---@async
---@param data string
---@param remote string
---@param opts? garun.sftp.PutStringOptions
function Session:put_string(data, remote, opts) end

---@class garun.sftp.GetStringOptions
---@field max_bytes? integer default 67108864; a longer file is an error (code "EFBIG")
---@field follow? boolean as of get

--- The content of a file.
---@async
---@param path string
---@param opts? garun.sftp.GetStringOptions
---@return string
---@nodiscard
function Session:get_string(path, opts) end

---@class garun.sftp.GetAllOptions
---@field pattern? string shell pattern for names: * ? [a-z] [!a-z]; default all
---@field concurrency? integer files at a time, default 4
---@field follow? boolean true: symbolic links to files too; default false: they are left out
---@field resume? boolean as of get
---@field preserve_mtime? boolean as of get
---@field mode? string|integer as of get
---@field sync? boolean as of get
---@field progress? fun(name: string, bytes: integer, size: integer)

---@class garun.sftp.CopiedFile: garun.sftp.Copied
---@field name string

--- Gets the regular files of a directory, not of those below it. A name that could lead out of the local directory or that
--- has control characters is an error (code "UNSAFE_NAME"), before anything is got.
---@async
---@param dir string
---@param to string path of a local directory that exists
---@param opts? garun.sftp.GetAllOptions
---@return garun.sftp.CopiedFile[] files in the order of their names
function Session:get_all(dir, to, opts) end

---@class garun.sftp.SourceOptions
---@field chunk? integer bytes of a chunk, 1 to 67108864, default 524288; six of them are asked for ahead
---@field follow? boolean as of get

--- A source of the bytes of a file, as fs.source: the next chunk, nil at the end. Raises there when the file changed while
--- it was read. The fourth value closes the file when it is left early.
---@async
---@param path string
---@param opts? garun.sftp.SourceOptions
---@return garun.Source
---@return nil
---@return nil
---@return garun.sftp.File
function Session:source(path, opts) end

---@class garun.sftp.OpenOptions
---@field mode? string|integer permissions of a new file, default "0666", less the server's umask

--- Opens a file. "r" reads, "w" truncates or creates, "a" appends or creates; "+" adds the other direction, "x" fails when
--- the file exists, "c" after "r+" creates without truncating.
---@async
---@param path string
---@param mode? string default "r"
---@param opts? garun.sftp.OpenOptions
---@return garun.sftp.File
---@nodiscard
function Session:open(path, mode, opts) end

---@class garun.sftp.File
local File = {}

--- Up to n bytes from the position on, fewer only at the end; nil there.
---@async
---@param n? integer 1 to 67108864, default 262144
---@return string?
function File:read(n) end

--- A source of the rest of the file, read ahead.
---@param n? integer bytes of a chunk, default 524288
---@return garun.Source
---@nodiscard
function File:chunks(n) end

--- Writes all of data at the position. Up to 4 MiB are under way before it waits, so a failure may be raised by a later
--- write, or by close.
---@async
---@param data string
---@return garun.sftp.File self
function File:write(data) end

--- Sets the position and returns it; without arguments just tells it.
---@async
---@param whence? "set"|"cur"|"end" default "cur"
---@param offset? integer bytes, default 0
---@return integer position
function File:seek(whence, offset) end

--- What the server knows about the open file.
---@async
---@return garun.sftp.Stat
---@nodiscard
function File:stat() end

--- Waits until what was written is on the server's disk; false where the server cannot tell (no fsync@openssh.com).
---@async
---@return boolean
function File:sync() end

--- Sets permissions and modification time of the open file; nil leaves one as it is.
---@async
---@param mode? integer
---@param mtime? integer seconds since 1970
function File:set(mode, mtime) end

--- Closes the file after all is written; raises what failed late. Closing twice is allowed. `local f <close>` closes too;
--- left by an error, without waiting.
---@async
function File:close() end

return sftp
