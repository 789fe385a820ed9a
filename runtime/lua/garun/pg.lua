-- garun.pg: PostgreSQL. The C half (garun.core.pg) moves bytes and waits; what a person may want to read is here and in
-- garun/pg/: connect (which server, how secured), session (transactions, COPY, pipelines), pool, text (quoting).

local core <const> = require "garun.core.pg"
local connect <const> = require "garun.pg.connect"
local pool <const> = require "garun.pg.pool"
local text <const> = require "garun.pg.text"
require "garun.pg.session"

return {
  connect = connect.connect,
  pool = pool.new,
  json = core.json,
  array = core.array,
  bytea = core.bytea,
  ident = text.ident,
  literal = text.literal,
  null = require("garun.json").null,
}
