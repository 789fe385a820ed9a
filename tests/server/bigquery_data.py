"""bigquery_data: tables of the fixture server, and BigQuery's encodings of their rows (answer rows, extract lines)."""

import base64
import gzip
import hashlib
import json
import time

TYPES = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN", "STRUCT": "RECORD"}


def java_double(v):
    """A double as Java's Double.toString prints it, which is what answers hold."""
    if v != v or v in (float("inf"), float("-inf")):
        return "NaN" if v != v else "Infinity" if v > 0 else "-Infinity"
    if v == 0 or 1e-3 <= abs(v) < 1e7:
        text = repr(float(v))
        return text if "e" not in text else f"{v:f}"
    mantissa, exponent = f"{v!r}".split("e") if "e" in repr(float(v)) else ("", "")
    if not mantissa:
        digits = repr(float(v)).replace("-", "")
        whole, _, part = digits.partition(".")
        if whole.strip("0"):
            exponent = len(whole) - 1
            rest = (whole + part).rstrip("0")
        else:
            rest = part.lstrip("0").rstrip("0")
            exponent = -(len(part) - len(part.lstrip("0")) + 1)
        mantissa = ("-" if v < 0 else "") + rest[0] + "." + (rest[1:] or "0")
    elif "." not in mantissa:
        mantissa += ".0"
    return f"{mantissa}E{int(exponent)}"


def cell(v, field, micros=False):
    """The "v" of an answer's cell."""
    if field.get("mode") == "REPEATED":
        inner = {**field, "mode": "NULLABLE"}
        return [{"v": cell(e, inner, micros)} for e in v or []]
    if v is None:
        return None
    kind = TYPES.get(field["type"], field["type"])
    if kind == "RECORD":
        return {"f": [{"v": cell(v.get(f["name"]), f, micros)} for f in field["fields"]]}
    if kind == "FLOAT":
        return java_double(float(v))
    if kind == "BOOLEAN":
        return "true" if v else "false"
    if kind == "TIMESTAMP":
        return str(int(v)) if micros else java_double(int(v) / 1e6)
    return str(v)


def row_json(values, fields, micros=False):
    return json.dumps({"f": [{"v": cell(v, f, micros)} for v, f in zip(values, fields)]}, ensure_ascii=False,
                      separators=(",", ":")).encode()


def extract_value(v, field):
    if field.get("mode") == "REPEATED":
        inner = {**field, "mode": "NULLABLE"}
        return [extract_value(e, inner) for e in v or []]
    if v is None:
        return None
    kind = TYPES.get(field["type"], field["type"])
    if kind == "RECORD":
        out = {}
        for f in field["fields"]:
            e = extract_value(v.get(f["name"]), f)
            if e is not None:
                out[f["name"]] = e
        return out
    if kind == "INTEGER":
        return str(v)
    if kind == "FLOAT":
        return int(v) if v == int(v) else v
    return v


def extract_line(row, schema):
    text = json.dumps(extract_value(row, {"type": "RECORD", "fields": schema}), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode() + b"\n"


def normalize(v, field):
    """The row as Python values: 64-bit integers may come as text, absent members are NULL."""
    if field.get("mode") == "REPEATED":
        inner = {**field, "mode": "NULLABLE"}
        return [normalize(e, inner) for e in v or []]
    if v is None:
        return None
    kind = TYPES.get(field["type"], field["type"])
    if kind == "RECORD":
        return {f["name"]: normalize(v.get(f["name"]), f) for f in field["fields"]}
    if kind in ("INTEGER", "TIMESTAMP"):
        return int(v)
    if kind == "FLOAT":
        return float(v)
    if kind == "BOOLEAN":
        return v is True or v == "true"
    return v if isinstance(v, str) else json.dumps(v)


class Table:
    def __init__(self, spec):
        self.project, self.dataset, self.name = spec["project"], spec["dataset"], spec["table"]
        self.schema = spec["schema"]
        if "file" in spec:
            opener = gzip.open if spec["file"].endswith(".gz") else open
            with opener(spec["file"], "rt", encoding="utf-8") as f:
                raw = [json.loads(line) for line in f if line.strip()]
        else:
            raw = spec.get("rows", [])
        whole = {"type": "RECORD", "fields": self.schema}
        self.rows = [normalize(r, whole) for r in raw]
        if spec.get("repeat"):      # each round a second later
            self.rows = [{**r, "event_timestamp": r["event_timestamp"] + i * 1000000} for i in range(spec["repeat"])
                         for r in self.rows]
        self.modified = int(spec.get("lastModifiedTime") or time.time() * 1000)
        self.streaming = spec.get("streamingRows")
        self.type = spec.get("type", "TABLE")
        self.sizes = {f["name"]: sum(len(json.dumps(r.get(f["name"]))) for r in self.rows) for f in self.schema}
        self.bytes = sum(self.sizes.values())
        self.claims = spec.get("claims", {})       # members of tables.get, for a table that lies
        self.etag = base64.b64encode(hashlib.md5(f"{self.name}{self.modified}{len(self.rows)}".encode()).digest()).decode()

    def column_bytes(self, name):
        return self.sizes[name]

    def reference(self):
        return {"projectId": self.project, "datasetId": self.dataset, "tableId": self.name}

    def full_id(self):
        return f"{self.project}:{self.dataset}.{self.name}"

    def resource(self, location):
        streaming = int(self.streaming or 0)
        out = {"kind": "bigquery#table", "etag": self.etag, "id": self.full_id(), "tableReference": self.reference(),
               "schema": {"fields": self.schema}, "numBytes": str(self.bytes), "numLongTermBytes": "0",
               "numRows": str(len(self.rows) - streaming), "creationTime": str(self.modified - 1000),
               "lastModifiedTime": str(self.modified), "type": self.type, "location": location}
        if streaming:
            out["streamingBuffer"] = {"estimatedRows": str(streaming), "estimatedBytes": "0",
                                      "oldestEntryTime": str(self.modified)}
        return {**out, **self.claims}
