#!/usr/bin/env python3
"""The pipeline that a competent engineer would write with Python 3 and psycopg 3: the same mapping as garun's ingest,
one pass over the file, COPY in batches per table, the days replaced in one transaction. `make bench` runs it too.

    rival_psycopg.py load --dsn DSN --tenant UUID FILE...
    rival_psycopg.py rows --tenant UUID --out DIR [--raw full] [--ids] FILE...    the same rows as COPY files for psql

What makes it fast: batches of 1 MiB, a thread that sends one batch while the next is parsed, rows formatted here (a
tenth cheaper than copy.write_row), the garbage collector off. What changed nothing when tried: psycopg's C code (one
write a batch leaves it little to do), its queued writer, dropping nulls after parsing instead of while parsing.
Left out on purpose: processes, for one process and one connection is what it is compared with.
Files may be gzipped. Lines that are no event are skipped and counted."""

import argparse
import gc
import gzip
import json
import os
import queue
import re
import sys
import threading
import time
from datetime import datetime
from functools import partial

BATCH = 1 << 20

COMMON = ["tenant_id", "event_date", "event_timestamp", "user_pseudo_id", "user_prop_webuserid",
          "user_prop_default_branch_id", "param_ga_session_id"]
DEVICE = ["device_category", "device_operating_system", "geo_country", "geo_city", "raw_data"]
TITLE = ["param_page_title", "param_page_location"]
ITEM = ["first_item_item_id", "first_item_item_name", "first_item_item_category", "first_item_price"]
TABLES = {
    "purchase": COMMON + ["param_transaction_id"] + TITLE + ["ecommerce_purchase_revenue", "items_json"] + DEVICE,
    "add_to_cart": COMMON + TITLE + ITEM + ["first_item_quantity", "items_json"] + DEVICE,
    "page_view": COMMON + TITLE + ["param_page_referrer"] + DEVICE,
    "view_item": COMMON + ITEM + TITLE + ["items_json"] + DEVICE,
    "view_search_results": COMMON + ["param_search_term"] + TITLE + DEVICE,
    "no_search_results": COMMON + ["param_no_search_results_term"] + TITLE + DEVICE,
}
ROUTE = {name: name for name in TABLES}
ROUTE["view_search_results_no_results"] = "no_search_results"

ESCAPE = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
SPECIAL = re.compile(r"[\\\t\n\r]")
DATE = re.compile(r"\d{8}")
SURROGATE = re.compile("[\ud800-\udfff]")
EMPTY = {}


class Rejected(Exception):
    """The row cannot be stored; the message says why."""


def without_nulls(pairs):
    return {key: value for key, value in pairs if value is not None}


parse = json.JSONDecoder(object_pairs_hook=without_nulls).decode
compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False, allow_nan=False).encode


def text(value, limit=None):
    """A value as it stands in a text column of a COPY row."""
    if value is None:
        return "\\N"
    if type(value) is not str:
        value = repr(int(value)) if type(value) is float and value.is_integer() else str(value)
    if limit is not None and len(value) > limit:
        value = value[:limit]
    if SPECIAL.search(value):
        value = value.translate(ESCAPE)
    return value


def identifier(value, limit):
    if value is not None and len(str(value)) > limit:
        raise Rejected("an id is too long")
    return text(value)


def number(value, limit):
    """A number's text, NULL when the column cannot hold it."""
    if value is None:
        return "\\N"
    try:
        if abs(float(value)) < limit:     # false for NaN, too
            return str(value)
    except (TypeError, ValueError):
        pass
    return "\\N"


def string_first(value):
    for kind in ("string_value", "int_value", "double_value", "float_value"):
        if kind in value:
            return value[kind]
    return None


def int_first(value):
    for kind in ("int_value", "string_value", "double_value", "float_value"):
        if kind in value:
            return value[kind]
    return None


def number_first(value):
    for kind in ("double_value", "float_value", "int_value", "string_value"):
        if kind in value:
            return value[kind]
    return None


def first_of(params, key, pick):
    value = params.get(key)
    return pick(value) if value is not None else None


class Mapper:
    """Turns lines into COPY rows. Keeps what the duplicates of the days are told by."""

    def __init__(self, tenant):
        self.tenant = tenant
        self.seen = set()
        self.counts = {"lines": 0, "other_events": 0, "duplicates": 0, "rejected": 0}

    def row(self, line, raw=None):
        """(table, day, row without its line end), None for what is not stored."""
        counts = self.counts
        counts["lines"] += 1
        try:
            event = parse(line)
            if "\\u0000" in line:
                event = without_nul(event)
            name, day = event.get("event_name"), event.get("event_date")
            if not name or not DATE.fullmatch(day):
                raise Rejected("no name or no date")
            table = ROUTE.get(name)
            if table is None:
                counts["other_events"] += 1
                return None
            datetime.strptime(day, "%Y%m%d")
            row = self.columns(table, event, day, raw)
        except (Rejected, ValueError, TypeError, AttributeError):
            counts["rejected"] += 1
            return None
        if "batch_page_id" in event:
            key = (event.get("user_pseudo_id"), event.get("event_timestamp"), name, event["batch_page_id"],
                   event.get("batch_ordering_id"), event.get("batch_event_index"))
        else:
            key = row
        if key in self.seen:
            counts["duplicates"] += 1
            return None
        self.seen.add(key)
        return table, day, row

    def columns(self, table, event, day, raw):
        params, properties = {}, {}
        for param in event.get("event_params") or ():
            params.setdefault(param["key"], param.get("value", EMPTY))
        for prop in event.get("user_properties") or ():
            properties.setdefault(prop["key"].lower(), prop.get("value", EMPTY))
        device, geo, items = event.get("device", EMPTY), event.get("geo", EMPTY), event.get("items") or []
        out = [
            self.tenant, f"{day[:4]}-{day[4:6]}-{day[6:]}", text(event.get("event_timestamp")),
            identifier(event.get("user_pseudo_id"), 255),
            identifier(first_of(properties, "webuserid", int_first), 100),
            identifier(first_of(properties, "default_branch_id", string_first), 100),
            identifier(first_of(params, "ga_session_id", int_first), 100),
        ]
        title = text(first_of(params, "page_title", string_first), 500)
        location = text(first_of(params, "page_location", string_first))
        if table == "page_view":
            out += (title, location, text(first_of(params, "page_referrer", string_first)))
        elif table == "purchase":
            ecommerce = event.get("ecommerce", EMPTY)
            transaction = first_of(params, "transaction_id", string_first)
            if transaction is None:
                transaction = ecommerce.get("transaction_id")
            revenue = ecommerce.get("purchase_revenue")
            if revenue is None:
                revenue = first_of(params, "value", number_first)
            out += (identifier(transaction, 100), title, location, number(revenue, 1e13), text(compact(items)))
        elif table in ("add_to_cart", "view_item"):
            item = items[0] if items else EMPTY
            first = (identifier(item.get("item_id"), 255), text(item.get("item_name"), 500),
                     text(item.get("item_category"), 255), number(item.get("price"), 1e8))
            if table == "add_to_cart":
                out += (title, location, *first, number(item.get("quantity"), 2147483648), text(compact(items)))
            else:
                out += (*first, title, location, text(compact(items)))
        elif table == "view_search_results":
            out += (text(first_of(params, "search_term", string_first), 500), title, location)
        else:
            term = first_of(params, "no_search_results_term", string_first)
            if term is None:
                term = first_of(params, "search_term", string_first)
            out += (text(term, 500), title, location)
        out += (text(device.get("category"), 50), text(device.get("operating_system"), 50),
                text(geo.get("country"), 100), text(geo.get("city"), 100),
                text(compact(event)) if raw is None else raw.replace("\\", "\\\\"))
        row = "\t".join(out)
        return row if row.isascii() else SURROGATE.sub("\ufffd", row)


def without_nul(value):
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, list):
        return [without_nul(element) for element in value]
    if isinstance(value, dict):
        return {without_nul(key): without_nul(element) for key, element in value.items()}
    return value


def lines_of(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rt", encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            if not line.isspace():
                yield line


class Writer(threading.Thread):
    """Sends finished batches while the next ones are parsed: libpq waits without the interpreter's lock. The queue's
    bound keeps memory in check; an error stops the load at the next batch."""

    def __init__(self, cursor):
        super().__init__(daemon=True)
        self.cursor, self.error, self.queue = cursor, None, queue.Queue(maxsize=4)
        self.start()

    def run(self):
        while (job := self.queue.get()) is not None:
            if self.error is None:
                try:
                    job()
                except BaseException as error:   # handed to the main thread, whatever it is
                    self.error = error

    def put(self, job):
        if self.error is not None:
            raise self.error
        self.queue.put(job)

    def finish(self):
        self.queue.put(None)
        self.join()
        if self.error is not None:
            raise self.error


def load(args):
    import psycopg

    mapper = Mapper(args.tenant)
    rows = dict.fromkeys(TABLES, 0)
    started = time.monotonic()
    with psycopg.connect(args.dsn, autocommit=False) as db, db.cursor() as cur:
        cur.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (args.tenant,))
        cur.execute("SET LOCAL garun.rollup = manual")      # the rows only: nothing is derived from them
        writer = Writer(cur)
        buffers = {table: [] for table in TABLES}
        sizes = dict.fromkeys(TABLES, 0)
        replaced = set()

        def delete(day):
            for name in TABLES:
                cur.execute(f"DELETE FROM {name} WHERE tenant_id = %s AND event_date = %s", (args.tenant, day))

        def send(table, batch):
            with cur.copy(f"COPY {table} ({', '.join(TABLES[table])}) FROM STDIN") as copy:
                copy.write("".join(batch).encode())

        def flush(table):
            writer.put(partial(send, table, buffers[table]))
            buffers[table], sizes[table] = [], 0

        for path in args.files:
            for line in lines_of(path):
                made = mapper.row(line)
                if made is None:
                    continue
                table, day, row = made
                if day not in replaced:
                    replaced.add(day)
                    writer.put(partial(delete, day))
                buffers[table].append(row + "\n")
                rows[table] += 1
                sizes[table] += len(row) + 1
                if sizes[table] >= BATCH:
                    flush(table)
        for table in TABLES:
            if buffers[table]:
                flush(table)
        writer.finish()
        db.commit()
    seconds = time.monotonic() - started
    print(json.dumps({**rows, **mapper.counts, "seconds": round(seconds, 3), "psycopg": psycopg.__version__,
                      "implementation": psycopg.pq.__impl__, "libpq": psycopg.pq.version()}))


def uuid7(random_bytes, millis):
    value = bytearray(millis.to_bytes(6, "big") + random_bytes)
    value[6] = 0x70 | value[6] & 0x0F
    value[8] = 0x80 | value[8] & 0x3F
    h = value.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def write_rows(args):
    """COPY files and, beside each, NAME.columns with its column list. --ids: time-ordered ids, as garun makes them."""
    mapper = Mapper(args.tenant)
    files, count = {}, 0
    for path in args.files:
        for line in lines_of(path):
            made = mapper.row(line, raw=line.rstrip("\n") if args.raw == "full" else None)
            if made is None:
                continue
            table, _, row = made
            if table not in files:
                files[table] = open(os.path.join(args.out, table + ".copy"), "w", encoding="utf-8", newline="\n")
                columns = (["id"] if args.ids else []) + TABLES[table]
                with open(os.path.join(args.out, table + ".columns"), "w", encoding="ascii") as names:
                    names.write(", ".join(columns))
            if args.ids:
                count += 1
                tail = (count % 4096).to_bytes(2, "big") + os.urandom(8)
                row = uuid7(tail, 1704067200000 + count // 4096) + "\t" + row
            files[table].write(row + "\n")
    for file in files.values():
        file.close()
    print(json.dumps(mapper.counts))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("load")
    one.add_argument("--dsn", required=True)
    two = commands.add_parser("rows")
    two.add_argument("--out", required=True)
    two.add_argument("--raw", choices=("stripped", "full"), default="stripped")
    two.add_argument("--ids", action="store_true")
    for command in (one, two):
        command.add_argument("--tenant", required=True)
        command.add_argument("files", nargs="+")
    args = parser.parse_args()
    gc.disable()
    if args.command == "load":
        load(args)
    else:
        write_rows(args)


if __name__ == "__main__":
    sys.exit(main())
