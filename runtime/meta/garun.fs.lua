---@meta garun.fs
--- Files, directories, temporary files and locks.
---
---     local fs <const> = require "garun.fs"
---     for line in fs.lines("events.ndjson") do ... end
---     fs.write("state.json", json.encode(state))           -- old or new, never half
---
--- Reading and writing wait without holding up other tasks, however slow the disk. A source is a function that returns
--- the next chunk and nil at the end; a sink is a function that takes a chunk and, called with nil, finishes. Errors
--- have kind "fs", the errno's name as code ("ENOENT") and name the call and the path. A file mode is octal text
--- ("0640"), or an integer.

local fs = {}

---@alias garun.Source fun(): string?
---@alias garun.Sink fun(chunk: string?)

---@class garun.fs.File
---@field path string the path as it was given
local File = {}

--- Up to n bytes, nil at the end. A regular file gives fewer only at its end; a pipe or a terminal gives what is there.
---@async
---@param n? integer 1 to 67108864 bytes, default 262144
---@return string? chunk
function File:read(n) end

--- Writes all of data.
---@async
---@param data string
---@return garun.fs.File self
function File:write(data) end

--- Sets the position of the next read or write of a regular file and returns it; without arguments just tells it.
---@param whence? "set"|"cur"|"end" default "cur"
---@param offset? integer bytes, default 0
---@return integer position bytes from the start
function File:seek(whence, offset) end

--- The size in bytes at this moment.
---@return integer
---@nodiscard
function File:size() end

--- Waits until what was written is on the disk (fsync).
---@async
---@return garun.fs.File self
function File:sync() end

--- A source that reads this file from its position on.
---@param n? integer bytes of a chunk, default 262144
---@return garun.Source
---@nodiscard
function File:chunks(n) end

--- Whether the file has its size and modification time of when it was opened (or last written by this handle); else
--- false and what changed. Ask at the end of a file that somebody may still be writing.
---@return boolean same
---@return string? why
---@nodiscard
function File:unchanged() end

--- Makes a temporary file a lasting one: its bytes and then its new name are put on the disk (fsync, rename, fsync).
---@async
---@param path string on the same file system; what is there is replaced
---@return garun.fs.File self
function File:persist(path) end

--- Closes the file; a temporary one is removed. Closing twice is allowed; `local f <close>` does it too. Raises when
--- the system could not write what it had accepted.
function File:close() end

---@class garun.fs.OpenOptions
---@field mode? string|integer permissions of a new file, default "0666", both less the umask

--- Opens a file. "r" reads, "w" truncates or creates, "a" appends or creates; "+" adds the other direction, "x" fails
--- when the file exists. Does not wait for the other end of a FIFO.
---
---     local f <close> = fs.open("data.bin", "r+")
---@param path string
---@param mode? string default "r"
---@param opts? garun.fs.OpenOptions
---@return garun.fs.File
---@nodiscard
function fs.open(path, mode, opts) end

---@class garun.fs.SourceOptions
---@field chunk? integer bytes of a chunk, 1 to 67108864, default 262144
---@field stable? boolean true: raise code "changed" at the end when the file changed while it was read; default false

--- A source of the bytes of a file; "-" is standard input. The file is closed at the end; the fourth value is the file
--- for `for` to close when it is left early.
---
---     for chunk in fs.source(path) do ... end
---@param path string
---@param opts? garun.fs.SourceOptions
---@return garun.Source
---@return nil
---@return nil
---@return garun.fs.File
function fs.source(path, opts) end

---@class garun.fs.SinkOptions
---@field atomic? boolean true (default): the file appears whole when the sink finishes, or not at all
---@field mode? string|integer permissions; default those of the file that is replaced, else "0666" less the umask

--- A sink into a file; "-" is standard output. Called with nil it puts the file on the disk and closes it. The fourth
--- value is the file: closing it before gives the work up.
---
---     local put <const> = fs.sink("out.csv")
---     put("a,b\r\n")
---     put(nil)
---@param path string
---@param opts? garun.fs.SinkOptions
---@return garun.Sink
---@return nil
---@return nil
---@return garun.fs.File
function fs.sink(path, opts) end

---@class garun.fs.LinesOptions
---@field max_bytes? integer longest line, default 16777216

--- The lines of a file, of "-" or of any source, without their "\n" (a "\r" before it stays). The last one may lack it.
--- Raises code "line" for a line that is too long.
---@param source string|garun.Source a path or a source
---@param opts? garun.fs.LinesOptions
---@return fun(): string?
---@return nil
---@return nil
---@return garun.fs.File?
function fs.lines(source, opts) end

---@class garun.fs.ReadOptions
---@field max_bytes? integer default 67108864

--- All bytes of a regular file. Raises code "EFBIG" beyond max_bytes.
---@async
---@param path string
---@param opts? garun.fs.ReadOptions
---@return string
---@nodiscard
function fs.read(path, opts) end

---@class garun.fs.WriteOptions
---@field atomic? boolean true (default): by a temporary file and rename: readers find the old bytes or the new ones,
---                       after a power cut too; false: in place
---@field sync? boolean wait until it is on the disk; default true when atomic, else false
---@field mode? string|integer permissions; default those of the file that is replaced, else "0666" less the umask

--- Makes data the content of a file. A symbolic link stays one, its target is replaced.
---@async
---@param path string
---@param data string
---@param opts? garun.fs.WriteOptions
function fs.write(path, data, opts) end

---@class garun.fs.AppendOptions
---@field sync? boolean default false
---@field mode? string|integer permissions of a new file

--- Appends data to a file, which is created when needed.
---@async
---@param path string
---@param data string
---@param opts? garun.fs.AppendOptions
function fs.append(path, data, opts) end

---@class garun.fs.Stat
---@field type "file"|"directory"|"link"|"fifo"|"socket"|"character device"|"block device"|"unknown"
---@field size integer bytes
---@field mtime number seconds since 1970
---@field mtime_ns integer the same in nanoseconds, exact
---@field inode integer
---@field device integer
---@field links integer
---@field mode integer permission bits; string.format("%o", mode) shows them
---@field uid integer
---@field gid integer

---@class garun.fs.StatOptions
---@field follow? boolean false: tell about a symbolic link itself; default true

--- What the file system knows about a path; nil when there is nothing.
---@param path string
---@param opts? garun.fs.StatOptions
---@return garun.fs.Stat?
---@nodiscard
function fs.stat(path, opts) end

--- Whether something is at the path.
---@param path string
---@return boolean
---@nodiscard
function fs.exists(path) end

--- The names in a directory, sorted, without "." and "..".
---@async
---@param dir string
---@return string[]
---@nodiscard
function fs.list(dir) end

--- The paths that match a shell pattern (* ? [...] {a,b}, \ quotes), sorted; an empty list when none does. Raises when
--- a directory may not be read, for it must not look empty.
---@async
---@param pattern string
---@return string[]
---@nodiscard
function fs.glob(pattern) end

---@class garun.fs.MkdirOptions
---@field parents? boolean true: directories above are made as needed and one that exists is fine; default false
---@field mode? string|integer default "0777", less the umask

--- Makes a directory.
---@param path string
---@param opts? garun.fs.MkdirOptions
---@return string path
function fs.mkdir(path, opts) end

---@class garun.fs.RemoveOptions
---@field recursive? boolean true: a directory with all that is in it, symbolic links are not followed; default false
---@field missing_ok? boolean true: nothing there is no error; default false

--- Removes a file or an empty directory.
---@async
---@param path string
---@param opts? garun.fs.RemoveOptions
---@return boolean removed false when there was nothing
function fs.remove(path, opts) end

--- Renames a file or directory; a file in the way is replaced in one step. Both on the same file system.
---@param from string
---@param to string
function fs.rename(from, to) end

--- Makes a symbolic link at path that points to target.
---@param target string
---@param path string
function fs.symlink(target, path) end

--- What a symbolic link points to.
---@param path string
---@return string target
---@nodiscard
function fs.readlink(path) end

--- Sets the permissions.
---@param path string
---@param mode string|integer
function fs.chmod(path, mode) end

--- The absolute path without symbolic links; the path must exist.
---@param path string
---@return string
---@nodiscard
function fs.realpath(path) end

--- The current directory.
---@return string
---@nodiscard
function fs.cwd() end

--- The last part of a path: "b.gz" of "/a/b.gz" and of "/a/b.gz/".
---@param path string
---@return string
---@nodiscard
function fs.basename(path) end

--- What is before the last part: "/a" of "/a/b", "." of "b", "/" of "/".
---@param path string
---@return string
---@nodiscard
function fs.dirname(path) end

--- Puts parts together with "/"; an absolute part drops what is before it.
---@param ... string
---@return string
---@nodiscard
function fs.join(...) end

---@class garun.fs.TempOptions
---@field dir? string default $TMPDIR, else /tmp
---@field prefix? string default "garun-"

--- A new file that is open for reading and writing (mode 0600) and is removed when it is closed, unless persist gave it
--- a name.
---@param opts? garun.fs.TempOptions
---@return garun.fs.File
---@nodiscard
function fs.tempfile(opts) end

---@class garun.fs.TempDir
---@field path string?
local TempDir = {}

--- Removes the directory with all that is in it. `local dir <close>` does it too.
function TempDir:close() end

--- A new directory (mode 0700).
---
---     local dir <close> = fs.tempdir()
---     fs.write(fs.join(dir.path, "x"), "...")
---@param opts? garun.fs.TempOptions
---@return garun.fs.TempDir
---@nodiscard
function fs.tempdir(opts) end

---@class garun.fs.Lock
local Lock = {}

--- Releases the lock. `local lock <close>` does it too, and so does the end of the process, however it comes.
function Lock:close() end

---@class garun.fs.LockOptions
---@field timeout? number seconds to wait for it, 0 = not at all; default: as long as it takes
---@field shared? boolean true: others may hold it shared, too; default false

--- Takes the lock of a file, which is made when needed and stays (flock(2): only among those who ask for it, on one
--- machine). Raises code "locked" with the holder's pid, when known, after the timeout. Two handles of the same process
--- exclude each other as well.
---@async
---@param path string
---@param opts? garun.fs.LockOptions
---@return garun.fs.Lock
---@nodiscard
function fs.lock(path, opts) end

---@class garun.fs.Space
---@field total integer bytes
---@field free integer bytes
---@field available integer bytes for this user

--- The space of the file system that holds the path.
---@param path string
---@return garun.fs.Space
---@nodiscard
function fs.space(path) end

return fs
