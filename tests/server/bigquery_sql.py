"""bigquery_sql: the statements that the fixture server of bigquery.py understands, parsed for what they say.

    SELECT item, ... [FROM `project.dataset.table` [AS] alias] [WHERE term AND ...] [ORDER BY column [DESC]] [LIMIT n]

An item is *, a column path, COUNT(*), a literal, @parameter or ?, TO_JSON_STRING(...), TO_JSON(...), JSON_STRIP_NULLS(...) or
STRUCT(...), with AS name. A term is column = value, column IN (value, ...), or column IN UNNEST(@parameter). Anything else
is an invalidQuery error, as an engine says it that does not know it. No engine: it evaluates over Python dicts.
"""

import json
import re

TOKEN = re.compile(r"""\s*(?:(?P<quoted>`[^`]*`)|(?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")|(?P<number>-?\d+(?:\.\d+)?)
    |(?P<param>@\w+)|(?P<name>[A-Za-z_]\w*)|(?P<sign>[*,.()=?<>]))""", re.X)
JSON_LIMIT = 2 ** 53


class SqlError(Exception):
    def __init__(self, message, reason="invalidQuery"):
        super().__init__(message)
        self.message, self.reason = message, reason


def tokens(text):
    found, at = [], 0
    text = text.rstrip().rstrip(";").rstrip()
    while at < len(text):
        m = TOKEN.match(text, at)
        if not m:
            raise SqlError(f"Syntax error: Illegal input character at [1:{at + 1}]")
        found.append((m.lastgroup, m.group(m.lastgroup), m.start(m.lastgroup) + 1))
        at = m.end()
    found.append(("end", "end of script", len(text) + 1))
    return found


class Parser:
    def __init__(self, text):
        self.list, self.at, self.marks = tokens(text), 0, 0

    def peek(self, word=None):
        kind, text, _ = self.list[self.at]
        if word is None:
            return kind
        return kind in ("name", "sign") and text.upper() == word

    def take(self, word=None, kind=None):
        k, text, col = self.list[self.at]
        if (word and not self.peek(word)) or (kind and k != kind):
            what = "end of script" if k == "end" else f'"{text}"'
            raise SqlError(f"Syntax error: Expected {word or kind} but got {what} at [1:{col}]")
        self.at += 1
        return text

    def accept(self, word):
        if self.peek(word):
            self.at += 1
            return True
        return False

    def path(self):
        names = [self.take(kind="name")]
        while self.accept("."):
            names.append(self.take(kind="quoted")[1:-1] if self.peek() == "quoted" else self.take(kind="name"))
        return names

    def expression(self):
        kind, text, col = self.list[self.at]
        if kind == "param":
            self.at += 1
            return ("param", text[1:])
        if kind == "string":
            self.at += 1
            return ("literal", re.sub(r"\\(.)", r"\1", text[1:-1]), "STRING")
        if kind == "number":
            self.at += 1
            return ("literal", text, "FLOAT" if "." in text else "INTEGER")
        if kind == "sign" and text == "*":
            self.at += 1
            return ("star",)
        if kind == "sign" and text == "?":
            self.at += 1
            self.marks += 1
            return ("param", self.marks - 1)
        if kind != "name":
            raise SqlError(f'Syntax error: Unexpected "{text}" at [1:{col}]')
        names = self.path()
        if len(names) > 1 or not self.accept("("):
            return ("column", names, col)
        function = names[0].upper()
        if function == "COUNT":
            self.take("*")
            self.take(")")
            return ("count",)
        if function not in ("TO_JSON_STRING", "TO_JSON", "JSON_STRIP_NULLS", "STRUCT"):
            raise SqlError(f"Function not found: {names[0]} at [1:{col}]")
        args = [self.expression()]
        while function == "STRUCT" and self.accept(","):
            args.append(self.expression())
        self.take(")")
        return (function.lower(), args)

    def statement(self):
        out = {"items": [], "table": None, "alias": None, "where": [], "order": None, "limit": None}
        self.take("SELECT")
        while True:
            item, name = self.expression(), None
            if self.accept("AS"):
                name = self.take(kind="name")
            out["items"].append((item, name))
            if not self.accept(","):
                break
        if self.accept("FROM"):
            if self.peek() == "quoted":
                out["table"] = self.take(kind="quoted")[1:-1].split(".")
            else:
                out["table"] = self.path()
            if self.accept("AS") or (self.peek() == "name" and not any(map(self.peek, ("WHERE", "ORDER", "LIMIT")))):
                out["alias"] = self.take(kind="name")
            if self.accept("WHERE"):
                out["where"].append(self.term())
                while self.accept("AND"):
                    out["where"].append(self.term())
            if self.accept("ORDER"):
                self.take("BY")
                out["order"] = (self.expression(), self.accept("DESC"))
        if self.accept("LIMIT"):
            out["limit"] = int(self.take(kind="number"))
        self.take(kind="end")
        return out

    def term(self):
        left = self.expression()
        if self.accept("="):
            return (left, [self.expression()], False)
        self.take("IN")
        if self.accept("UNNEST"):
            self.take("(")
            values, unnest = [self.expression()], True
        else:
            self.take("(")
            values, unnest = [self.expression()], False
            while self.accept(","):
                values.append(self.expression())
        self.take(")")
        return (left, values, unnest)


def parse(text):
    return Parser(text).statement()


# ---- values ----

def parameter(p):
    """The Python value and the schema of a query parameter."""
    kind = p["parameterType"]
    value = p.get("parameterValue", {})
    if kind["type"].upper() == "ARRAY":
        inner = kind["arrayType"]
        values = [parameter({"parameterType": inner, "parameterValue": v})[0] for v in value.get("arrayValues") or []]
        return values, {**schema_of(inner), "mode": "REPEATED"}
    if kind["type"].upper() == "STRUCT":
        out = {}
        for f in kind["structTypes"]:
            out[f["name"]] = parameter({"parameterType": f["type"], "parameterValue": value["structValues"][f["name"]]})[0]
        return out, schema_of(kind)
    v = value.get("value")
    return (None if v is None else scalar(v, schema_of(kind)["type"])), schema_of(kind)


LEGACY = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


def schema_of(kind):
    name = LEGACY.get(kind["type"].upper(), kind["type"].upper())
    out = {"type": name, "mode": "NULLABLE"}
    if name == "RECORD":
        out["fields"] = [{"name": f["name"], **schema_of(f["type"])} for f in kind["structTypes"]]
    return out


def scalar(v, kind):
    if kind == "INTEGER":
        return int(v)
    if kind == "FLOAT":
        return float(v)
    if kind == "BOOLEAN":
        return v is True or str(v).lower() == "true"
    return str(v)


def number_text(v):
    """JSON of a FLOAT64 as TO_JSON_STRING writes it."""
    if v != v or v in (float("inf"), float("-inf")):
        return "NaN" if v != v else "Infinity" if v > 0 else "-Infinity"
    return int(v) if v == int(v) and abs(v) < 1e15 else v


def to_json(v, field, strip=False, text=True):
    """The JSON value of a column. text: as TO_JSON_STRING encodes SQL values, else as TO_JSON does."""
    if field.get("mode") == "REPEATED":
        inner = {**field, "mode": "NULLABLE"}
        return [to_json(e, inner, strip, text) for e in v or []]
    if v is None:
        return None
    kind = field["type"]
    if kind == "RECORD":
        out = {}
        for f in field["fields"]:
            value = to_json(v.get(f["name"]), f, strip, text)
            if value is not None or not strip:
                out[f["name"]] = value
        return out
    if kind == "INTEGER":
        return v if not text or -JSON_LIMIT <= v <= JSON_LIMIT else str(v)
    if kind == "FLOAT":
        return number_text(v) if text else (float(v) if v == v and abs(v) != float("inf") else number_text(v))
    return v


def dumps(value, sort=False):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=sort)


class Evaluator:
    """One statement over one table's rows; gives schema and rows of Python values."""

    def __init__(self, statement, schema, params):
        self.s, self.schema, self.params = statement, schema, params

    def record(self, item):
        """The (name, field) list behind `alias` or STRUCT(alias.column, ...)."""
        if item[0] == "struct":
            return [self.field(a[1], a[2]) for a in item[1]]
        if item[0] == "column" and item[1] == [self.s["alias"]]:
            return self.schema
        raise SqlError("No matching signature for function TO_JSON")

    def field(self, names, col):
        if names[0] == self.s["alias"] and len(names) > 1:
            names = names[1:]
        fields, found = self.schema, None
        for n in names:
            found = next((f for f in fields if f["name"].lower() == n.lower()), None)
            if not found:
                raise SqlError(f"Unrecognized name: {n} at [1:{col}]")
            fields = found.get("fields", [])
        return found

    def getter(self, names):
        if names[0] == self.s["alias"] and len(names) > 1:
            names = names[1:]

        def get(row):
            for n in names:
                row = row.get(n) if row is not None else None
            return row
        return get

    def item(self, item):
        """(schema field without name, function of a row)"""
        kind = item[0]
        if kind == "literal":
            v = scalar(item[1], item[2])
            return {"type": item[2]}, lambda row: v
        if kind == "param":
            v, field = self.param(item[1])
            return field, lambda row: v
        if kind == "column":
            return self.field(item[1], item[2]), self.getter(item[1])
        if kind == "to_json_string":
            inner, strip, text = item[1][0], False, True
            if inner[0] == "json_strip_nulls":
                inner, strip = inner[1][0], True
                if inner[0] != "to_json":
                    raise SqlError("No matching signature for function JSON_STRIP_NULLS")
            if inner[0] == "to_json":
                inner, text = inner[1][0], False
            field = {"type": "RECORD", "fields": self.record(inner)}
            return {"type": "STRING"}, lambda row: dumps(to_json(row, field, strip, text), sort=not text)
        raise SqlError(f"Unsupported expression {kind.upper()}")

    def param(self, name):
        if isinstance(name, int):
            p = self.params[name] if name < len(self.params) else None
        else:
            p = next((p for p in self.params if p.get("name", "").lower() == name.lower()), None)
        if not p:
            raise SqlError(f"Query parameter '{name}' not found")
        return parameter(p)

    def keep(self):
        tests = []
        for left, values, unnest in self.s["where"]:
            get = self.item(left)[1]
            allowed = []
            for v in values:
                one = self.item(v)[1]({})
                allowed += one if unnest else [one]
            tests.append((get, set(allowed)))
        return lambda row: all(get(row) in allowed for get, allowed in tests)

    def columns(self):
        """Names of the top-level columns that the statement reads; bytes are billed by them."""
        used = set()

        def walk(item):
            if item[0] == "star" or (item[0] == "column" and item[1] == [self.s["alias"]]):
                used.update(f["name"] for f in self.schema)
            elif item[0] == "column":
                names = item[1][1:] if item[1][0] == self.s["alias"] else item[1]
                used.add(names[0])
            elif len(item) > 1 and isinstance(item[1], list):
                for a in item[1]:
                    walk(a)
        for item, _ in self.s["items"]:
            walk(item)
        for left, _, _ in self.s["where"]:
            walk(left)
        return used

    def run(self, rows):
        keep = self.keep()
        if len(self.s["items"]) == 1 and self.s["items"][0][0][0] == "count":
            n = sum(1 for r in rows if keep(r))
            return [{"name": self.s["items"][0][1] or "f0_", "type": "INTEGER", "mode": "NULLABLE"}], [[n]]
        fields, getters = [], []
        for i, (item, name) in enumerate(self.s["items"]):
            if item[0] == "star":
                for f in self.schema:
                    fields.append(f)
                    getters.append(self.getter([f["name"]]))
                continue
            field, get = self.item(item)
            default = item[1][-1] if item[0] == "column" else f"f{i}_"
            fields.append({"mode": "NULLABLE", **field, "name": name or default})
            getters.append(get)
        chosen = [r for r in rows if keep(r)]
        if self.s["order"]:
            get = self.item(self.s["order"][0])[1]
            chosen.sort(key=lambda r: (get(r) is not None, get(r)), reverse=self.s["order"][1])
        if self.s["limit"] is not None:
            chosen = chosen[:self.s["limit"]]
        return fields, [[g(r) for g in getters] for r in chosen]
