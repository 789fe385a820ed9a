-- garun.private_pg.settings: the configuration of a PostgreSQL server for this work, scaled to a machine.
--
-- Pure text: it asks nobody and writes nothing. etc/postgresql.conf.example is tuning() of a machine with 8 GB and 4
-- cores.
-- What is not here is as important: fsync, full_page_writes and synchronous_commit stay on, for the data is real.

local settings <const> = {}

local MB <const>, GB <const> = 1 << 20, 1 << 30

local function clamp(n, low, high)
  return math.max(low, math.min(n, high))
end

-- Whole gigabytes where that loses nothing, else megabytes, as people write them.
local function size(bytes)
  if bytes >= GB and bytes % GB == 0 then return (bytes // GB) .. "GB" end
  return math.max(1, bytes // MB) .. "MB"
end

local function quote(text)
  return "'" .. text:gsub("'", "''") .. "'"
end

local function line(name, value, why)
  return string.format("%-41s# %s", name .. " = " .. value, why)
end

--- The settings that depend on the machine and the work. machine: {memory = bytes, cores = n, disk_free = bytes or nil,
--- wal_lz4 = boolean, toast_lz4 = boolean}.
function settings.tuning(machine)
  local memory <const>, cores <const> = machine.memory, machine.cores
  local wal <const> = clamp((machine.disk_free or 40 * GB) // 10 // GB * GB, 1 * GB, 4 * GB)
  local parallel <const> = clamp(cores // 2, 1, 4)
  return table.concat({
    "# Memory",
    line("shared_buffers", size(clamp(memory // 4, 32 * MB, 2 * GB)), "25% of RAM, at most 2GB"),
    line("effective_cache_size", size(clamp(memory // 4 * 3, 64 * MB, 1 << 46)), "75% of RAM"),
    line("work_mem", size(clamp(memory // 128, 4 * MB, 64 * MB)), "for complex aggregations, per sort or hash"),
    line("maintenance_work_mem", size(clamp(memory // 16, 64 * MB, 512 * MB)), "for VACUUM, CREATE INDEX"),
    "",
    "# SSD storage",
    line("random_page_cost", "1.1", "a random read costs little more than a sequential one"),
    line("effective_io_concurrency", "200", "SSDs serve many reads at once"),
    "",
    "# Bulk loads: few large checkpoints, spread out, and less to write",
    line("max_wal_size", size(wal), "a day's load fits between two checkpoints"),
    line("min_wal_size", size(wal // 4), "segments kept for the next load"),
    line("checkpoint_timeout", "15min", "the WAL's size decides, not the clock"),
    line("checkpoint_completion_target", "0.9", "spread the writes"),
    line("wal_compression", machine.wal_lz4 and "lz4" or "on", "full pages after a checkpoint, compressed"),
    line("default_toast_compression", machine.toast_lz4 and "lz4" or "pglz", "JSONB loads faster than with pglz"),
    line("wal_level", "replica", "base backups and archiving stay possible"),
    "",
    "# Analytics",
    line("max_worker_processes", tostring(math.max(8, cores)), "background workers altogether"),
    line("max_parallel_workers", tostring(cores), "one per core"),
    line("max_parallel_workers_per_gather", tostring(parallel), "half the cores, so that one report leaves room"),
    line("max_parallel_maintenance_workers", tostring(parallel), "CREATE INDEX"),
    line("jit", "off", "compiling costs these queries more than it saves"),
    "",
    "# Days are replaced every night: clear the old rows away early, keep statistics fresh",
    line("autovacuum_vacuum_scale_factor", "0.05", "5% dead rows, not 20%"),
    line("autovacuum_analyze_scale_factor", "0.02", "2% changed rows, not 10%"),
    "",
    "# Sessions",
    line("client_connection_check_interval", "10s", "stop a query whose client is gone"),
    line("timezone", "'UTC'", "times without a zone are UTC"),
    "",
    "# Logging",
    line("log_min_duration_statement", "1000", "log queries > 1 second"),
    line("log_parameter_max_length", "0", "without their values: some are secrets, some are people"),
    line("log_lock_waits", "on", "who waits for whom"),
    line("log_temp_files", "64MB", "sorts that did not fit work_mem"),
    line("log_line_prefix", "'%m [%p] %q%a %u@%d '", "when, process, program, role, database"),
    line("log_timezone", "'UTC'", "as garun's own log"),
    "",
  }, "\n")
end

--- The settings of the private server: place as garun.private_pg.place gives it; shared_memory is the size of /dev/shm
--- in bytes, nil when unknown.
function settings.private(place, shared_memory)
  local lines <const> = {
    "# Where it listens: on a Unix socket in a directory of its own, nowhere else",
    "listen_addresses = ''",
    "port = " .. place.port,
    "unix_socket_directories = " .. quote(place.socket),
    "unix_socket_permissions = 0700",
    "cluster_name = " .. quote(place.cluster),
    "",
    "# One log file per weekday, overwritten a week later, so that the log cannot fill the disk",
    "logging_collector = on",
    "log_directory = " .. quote(place.log),
    "log_filename = 'postgresql-%a.log'",
    "log_truncate_on_rotation = on",
    "log_rotation_age = 1d",
    "log_rotation_size = 0",
    "",
  }
  -- Containers have 64 MB of /dev/shm by default; a parallel query that needs more fails, "No space left on device".
  if shared_memory and shared_memory < 256 * MB then
    lines[#lines + 1] = "# /dev/shm is small here, parallel queries would fail in it"
    lines[#lines + 1] = "dynamic_shared_memory_type = mmap\n"
  end
  return table.concat(lines, "\n")
end

--- pg_hba.conf: the owner of the cluster and root are the superuser garun by their system user; every other role needs
--- a password, also on the socket.
function settings.hba()
  return table.concat({
    "# Written by garun when it made the cluster; changes are kept.",
    "# TYPE  DATABASE     USER   METHOD",
    "local   all          garun  peer map=garun",
    "local   replication  garun  peer map=garun",
    "local   all          all    scram-sha-256",
    "",
  }, "\n")
end

function settings.ident(owner)
  return table.concat({
    "# Written by garun when it made the cluster; changes are kept.",
    "# MAPNAME  SYSTEM-USERNAME  PG-USERNAME",
    string.format("garun      %-15s  garun", owner:find("[%s\"#,/]") and '"' .. owner .. '"' or owner),
    owner == "root" and "" or "garun      root             garun",
    "",
  }, "\n")
end

return settings
