#!/usr/bin/python3
"""bigquery: a server that speaks BigQuery's REST API v2, its token endpoint, and Cloud Storage's JSON API, for tests.

    bigquery.py            listens on a free port of 127.0.0.1, prints "port N", ends when standard input does

Paths are taken with /bigquery/v2 in front and without, as Google's Node client sends them. Nothing is stored: tables come
over POST /control/tables, and /control/* also sets page sizes, keys and faults and tells what was asked:

    POST /control/tables     {"project","dataset","table","schema":[..],"rows":[..] or "file", "lastModifiedTime"?,
                              "streamingRows"?, "location"?, "repeat"?, "claims"?}, or a list of them; one there already is replaced
    POST /control/drop       {"project","dataset","table"}
    POST /control/settings   page_bytes, page_rows, gzip, auth, token_seconds, shard_rows, polls, buckets
    POST /control/accounts   {"email","public_key"} (PEM) or {"client_id","client_secret","refresh_token"}
    POST /control/faults     {"path": regular expression, "method"?, "kind", "n"?: 1, "skip"?: 0, ...}, or a list
    POST /control/expire     forgets all access tokens
    GET  /control/log        requests so far, without secrets; POST /control/clear empties it and drops the faults
    GET  /control/objects    names in Cloud Storage; /control/left how many faults have not come yet

Kinds of faults: status (status, reason, message, retry_after), html (status), reset, cut (at: share of the body), slow
(seconds, before the answer), incomplete, job_fails (reason), repeat_page, drop_row, total (by), broken (not JSON).
"""

import base64
import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bigquery_data as data    # noqa: E402
import bigquery_sql as sql      # noqa: E402

REASON_STATUS = {
    "accessDenied": 403, "backendError": 503, "billingNotEnabled": 403, "blocked": 403, "duplicate": 409,
    "internalError": 500, "notFound": 404, "notImplemented": 501, "quotaExceeded": 403, "rateLimitExceeded": 403,
    "responseTooLarge": 403, "authError": 401,
}
STATUS_NAME = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
               409: "ALREADY_EXISTS", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}


class Failure(Exception):
    """An answer in Google's form of an error."""

    def __init__(self, reason, message, status=None, location=None, headers=None):
        super().__init__(message)
        self.reason, self.message, self.headers = reason, message, headers or {}
        self.status = status or REASON_STATUS.get(reason, 400)
        self.location = location

    def proto(self):
        out = {"reason": self.reason, "message": self.message}
        if self.location:
            out["location"] = self.location
        return out

    def body(self):
        one = {"message": self.message, "domain": "global", "reason": self.reason}
        if self.location:
            one["location"], one["locationType"] = self.location, "other"
        return {"error": {"code": self.status, "message": self.message, "errors": [one],
                          "status": STATUS_NAME.get(self.status, "UNKNOWN")}}


class Job:
    def __init__(self, project, job_id, location, configuration):
        self.project, self.id, self.location, self.configuration = project, job_id, location, configuration
        self.error, self.fields, self.rows, self.polls, self.files = None, [], [], 0, []
        self.bytes, self.created, self.cached, self.hit = 0, int(time.time() * 1000), {}, False

    def reference(self):
        return {"projectId": self.project, "jobId": self.id, "location": self.location}

    def encoded(self, micros):
        if micros not in self.cached:
            self.cached[micros] = [data.row_json(r, self.fields, micros) for r in self.rows]
        return self.cached[micros]


class World:
    """All that the server knows. One lock guards it."""

    def __init__(self):
        self.lock = threading.RLock()
        self.tables, self.locations, self.jobs, self.requests = {}, {}, {}, {}
        self.objects, self.keys, self.refresh, self.tokens, self.results = {}, {}, {}, {}, {}
        self.log, self.faults = [], []
        self.settings = {"page_bytes": 10 << 20, "page_rows": None, "gzip": True, "auth": False, "token_seconds": 3600,
                         "shard_rows": 1000, "polls": 1, "buckets": []}

    def table(self, project, dataset, name, location=None):
        place = self.locations.get((project, dataset))
        if not place or (location and location.lower() != place.lower()):
            raise Failure("notFound", f"Not found: Dataset {project}:{dataset} was not found in location "
                          f"{location or 'US'}")
        found = self.tables.get((project, dataset, name))
        if not found:
            raise Failure("notFound", f"Not found: Table {project}:{dataset}.{name} was not found in location {place}")
        return found, place

    def fault(self, method, path, kinds):
        for f in self.faults:
            if f["kind"] in kinds and f.get("n", 1) > 0 and f.get("method", method) == method and \
                    re.search(f["path"], path):
                if f.get("skip", 0) > 0:
                    f["skip"] -= 1
                    continue
                f["n"] = f.get("n", 1) - 1
                return f
        return None


WORLD = World()


# ---- tokens ----

def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified(assertion, audience):
    """The claims of a signed assertion; raises ValueError."""
    head, claims, signature = assertion.split(".")
    header, body = json.loads(unbase64(head)), json.loads(unbase64(claims))
    if header.get("alg") != "RS256":
        raise ValueError("Invalid JWT Signature: alg")
    key = WORLD.keys.get(body.get("iss"))
    if not key:
        raise ValueError("Invalid grant: account not found")
    with tempfile.TemporaryDirectory() as d:
        for name, content in (("key", key.encode()), ("sig", unbase64(signature)), ("data", f"{head}.{claims}".encode())):
            with open(f"{d}/{name}", "wb") as f:
                f.write(content)
        done = subprocess.run(["openssl", "dgst", "-sha256", "-verify", f"{d}/key", "-signature", f"{d}/sig", f"{d}/data"],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise ValueError("Invalid JWT Signature.")
    now = time.time()
    if not body["iat"] - 60 <= now <= body["exp"] or body["exp"] - body["iat"] > 3600:
        raise ValueError("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.")
    if urllib.parse.urlsplit(body.get("aud", "")).path != audience or not body.get("scope"):
        raise ValueError("Invalid JWT: Failed audience check.")
    return body


def new_token():
    token = "ya29." + uuid.uuid4().hex
    seconds = WORLD.settings["token_seconds"]
    with WORLD.lock:
        WORLD.tokens[token] = time.time() + seconds
    return {"access_token": token, "expires_in": seconds, "token_type": "Bearer"}


def grant(form):
    kind = form.get("grant_type")
    if kind == "urn:ietf:params:oauth:grant-type:jwt-bearer":
        try:
            verified(form["assertion"], "/token")
        except (ValueError, KeyError) as e:
            return 400, {"error": "invalid_grant", "error_description": str(e)}
        return 200, new_token()
    if kind == "refresh_token":
        known = WORLD.refresh.get(form.get("refresh_token"))
        if not known or known != (form.get("client_id"), form.get("client_secret")):
            return 400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
        return 200, new_token()
    return 400, {"error": "unsupported_grant_type", "error_description": "Invalid grant_type: "}


# ---- jobs ----

def run_query(job, query, dry):
    """Fills the job; raises Failure for what is no statement at all."""
    try:
        statement = sql.parse(query["query"])
        if query.get("useLegacySql", True):
            raise sql.SqlError("Legacy SQL is not spoken here")
        schema, rows, table = [], [{}], None
        if statement["table"]:
            names = statement["table"]
            default = query.get("defaultDataset", {})
            if len(names) < 3:
                names = [default.get("projectId", job.project), default.get("datasetId", "")][:3 - len(names)] + names
            table, place = WORLD.table(*names, job.location)
            job.location = place
            schema, rows = table.schema, table.rows
            statement["alias"] = statement["alias"] or names[2]
        job.location = job.location or "US"
        evaluator = sql.Evaluator(statement, schema, query.get("queryParameters") or [])
        if table:
            job.bytes = sum(table.column_bytes(c) for c in evaluator.columns() if any(f["name"] == c for f in schema))
        limit = query.get("maximumBytesBilled")
        billed = max(10 << 20, -(-job.bytes // (1 << 20)) << 20) if table else 0
        if limit is not None and billed > int(limit) and not dry:
            raise Failure("bytesBilledLimitExceeded", f"Query exceeded limit for bytes billed: {limit}. {billed} or higher "
                          "required.")
        # As BigQuery does it: the same statement over the same table is answered from what is there.
        key = (query["query"], json.dumps(query.get("queryParameters")), id(table))
        known = WORLD.results.get(key) if table and not dry else None
        if known:
            job.fields, job.rows, job.cached, job.hit = known[1], known[2], known[3], True
        else:
            job.fields, job.rows = evaluator.run([] if dry else rows)
            if table and not dry:
                WORLD.results[key] = (table, job.fields, job.rows, job.cached)      # holds the table, for its id
    except sql.SqlError as e:
        raise Failure(e.reason, e.message, location="query") from None


def run_extract(job, extract):
    ref = extract["sourceTable"]
    table, job.location = WORLD.table(ref["projectId"], ref["datasetId"], ref["tableId"], job.location)
    uri = extract["destinationUris"][0]
    m = re.match(r"gs://([^/]+)/(.+)$", uri)
    if not m or m.group(1) not in WORLD.settings["buckets"]:
        raise Failure("notFound", f"Not found: Bucket {m.group(1) if m else uri}")
    if extract.get("destinationFormat") != "NEWLINE_DELIMITED_JSON":
        raise Failure("invalid", "CSV cannot hold nested data")
    lines = [data.extract_line(r, table.schema) for r in table.rows]
    size = WORLD.settings["shard_rows"] if "*" in m.group(2) else max(len(lines), 1)
    parts = [lines[i:i + size] for i in range(0, len(lines), size)] or [[]]
    for i, part in enumerate(parts):
        body = b"".join(part)
        if extract.get("compression") == "GZIP":
            body = gzip.compress(body, 1)
        WORLD.objects[(m.group(1), m.group(2).replace("*", f"{i:012d}"))] = body
    job.files = [len(parts)]


def insert_job(project, ref, configuration, location):
    job = Job(project, ref.get("jobId") or "job_" + uuid.uuid4().hex, ref.get("location") or location, configuration)
    with WORLD.lock:
        if (project, job.id) in WORLD.jobs:
            raise Failure("duplicate", f"Already Exists: Job {project}:{job.location or 'US'}.{job.id}")
        if not configuration.get("dryRun"):
            WORLD.jobs[(project, job.id)] = job
    try:
        if "query" in configuration:
            query = {**configuration["query"], "dryRun": configuration.get("dryRun")}
            run_query(job, query, configuration.get("dryRun"))
        elif "extract" in configuration:
            job.polls = WORLD.settings["polls"]
            run_extract(job, configuration["extract"])
        else:
            raise Failure("invalid", "Required parameter is missing: configuration")
    except Failure as f:
        if configuration.get("dryRun") or f.reason in ("invalidQuery", "notFound") and "query" in configuration:
            WORLD.jobs.pop((project, job.id), None)
            raise
        job.error = f
    job.location = job.location or "US"
    return job


def find_job(project, job_id, location):
    job = WORLD.jobs.get((project, job_id))
    # Without a location only the two multi-regions are searched.
    places = [location.lower()] if location else ["us", "eu"]
    if not job or job.location.lower() not in places:
        raise Failure("notFound", f"Not found: Job {project}:{job_id}")
    return job


def job_resource(job):
    done = job.polls <= 0
    status = {"state": "DONE" if done else "RUNNING"}
    if done and job.error:
        status["errorResult"] = job.error.proto()
        status["errors"] = [job.error.proto()]
    out = {"kind": "bigquery#job", "id": f"{job.project}:{job.location}.{job.id}", "jobReference": job.reference(),
           "configuration": job.configuration, "status": status,
           "statistics": {"creationTime": str(job.created), "totalBytesProcessed": str(job.bytes)}}
    if "extract" in job.configuration and done and not job.error:
        out["statistics"]["extract"] = {"destinationUriFileCounts": [str(n) for n in job.files]}
    if "query" in job.configuration:
        out["statistics"]["query"] = {"totalBytesProcessed": str(job.bytes), "cacheHit": False}
    return out


def rows_page(job, args, method, path):
    """The members of an answer page: start, bounds and faults."""
    start = int(args.get("startIndex") or 0)
    if args.get("pageToken"):
        owner, _, at = base64.b64decode(args["pageToken"]).decode().rpartition(":")
        if owner != job.id:
            raise Failure("invalid", "Invalid page token")
        start = int(at)
    micros = args.get("formatOptions.useInt64Timestamp") == "true"
    encoded = job.encoded(micros)
    bound = int(args["maxResults"]) if args.get("maxResults") else 1 << 60
    if WORLD.settings["page_rows"]:
        bound = min(bound, WORLD.settings["page_rows"])
    end, size = start, 0
    while end < len(encoded) and end - start < bound and (size == 0 or size + len(encoded[end]) <= WORLD.settings["page_bytes"]):
        size += len(encoded[end]) + 1
        end += 1
    rows = encoded[start:end]
    if start > 0 and WORLD.fault(method, path, ("repeat_page",)):
        rows = encoded[max(0, start - len(rows)):start]
    if rows and WORLD.fault(method, path, ("drop_row",)):
        rows = rows[:-1]
    total = len(encoded)
    fault = WORLD.fault(method, path, ("total",))
    if fault:
        total += fault["by"]
    out = {"totalRows": str(total)}
    if end < len(encoded):
        out["pageToken"] = base64.b64encode(f"{job.id}:{end}".encode()).decode()
    return out, rows


def answer(kind, job, args, method, path):
    """A query's answer: bytes, for encoding rows anew for each page would take most of a test's time."""
    if job.polls > 0 or WORLD.fault(method, path, ("incomplete",)):
        job.polls -= 1
        return {"kind": kind, "jobReference": job.reference(), "jobComplete": False}
    if job.error:
        raise job.error
    fault = WORLD.fault(method, path, ("job_fails",))
    if fault:
        job.error = Failure(fault["reason"], fault.get("message", "The job ended with an error."))
        raise job.error
    members, rows = rows_page(job, args, method, path)
    head = {"kind": kind, "etag": uuid.uuid4().hex, "schema": {"fields": job.fields}, "jobReference": job.reference(), **members}
    if args.get("maxResults") == "0":
        head.pop("pageToken", None)
    tail = {"totalBytesProcessed": str(job.bytes), "jobComplete": True, "cacheHit": job.hit}
    text = json.dumps(head)[:-1].encode()
    if rows:
        text += b', "rows": [' + b",".join(rows) + b"]"
    return text + b", " + json.dumps(tail)[1:].encode()


# ---- HTTP ----

def dataset(project, name):
    place = WORLD.locations.get((project, name))
    if not place:
        raise Failure("notFound", f"Not found: Dataset {project}:{name}")
    return place


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 20
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    # -- API --

    def projects(self, method, path, args, body):
        m = re.match(r"/projects/([^/]+)/(.+)$", path)
        if not m:
            raise Failure("notFound", "Not Found")
        project, rest = m.groups()
        if rest == "queries" and method == "POST":
            return self.query(project, args, body)
        if rest == "jobs" and method == "POST":
            return job_resource(insert_job(project, body.get("jobReference", {}), body["configuration"],
                                           body["configuration"].get("extract", {}).get("location")))
        m = re.match(r"queries/([^/]+)$", rest)
        if m:
            return answer("bigquery#getQueryResultsResponse", find_job(project, m[1], args.get("location")), args, method,
                          self.path)
        m = re.match(r"jobs/([^/]+)(/cancel)?$", rest)
        if m:
            job = find_job(project, m[1], args.get("location"))
            if m[2]:
                job.polls = 0
                return {"kind": "bigquery#jobCancelResponse", "job": job_resource(job)}
            out = job_resource(job)
            job.polls -= 1
            return out
        m = re.match(r"datasets/([^/]+)$", rest)
        if m:
            return {"kind": "bigquery#dataset", "id": f"{project}:{m[1]}", "location": dataset(project, m[1]),
                    "datasetReference": {"projectId": project, "datasetId": m[1]}}
        m = re.match(r"datasets/([^/]+)/tables$", rest)
        if m:
            return self.table_list(project, m[1], args)
        m = re.match(r"datasets/([^/]+)/tables/([^/]+)(/data)?$", rest)
        if m:
            table, place = WORLD.table(project, m[1], m[2])
            return self.table_data(table, args, method) if m[3] else table.resource(place)
        raise Failure("notFound", "Not Found")

    def query(self, project, args, body):
        request = (project, body.get("requestId"))
        with WORLD.lock:
            job = WORLD.requests.get(request) if body.get("requestId") and not body.get("dryRun") else None
            if not job:
                configuration = {"query": body, "dryRun": bool(body.get("dryRun"))}
                job = insert_job(project, {"location": body.get("location")}, configuration, None)
                if body.get("requestId") and not body.get("dryRun"):
                    WORLD.requests[request] = job
        if body.get("dryRun"):
            return {"kind": "bigquery#queryResponse", "schema": {"fields": job.fields}, "totalBytesProcessed": str(job.bytes),
                    "jobComplete": True, "cacheHit": False,
                    "jobReference": {"projectId": project, "location": job.location}}
        options = {"maxResults": body.get("maxResults"), "formatOptions.useInt64Timestamp":
                   str(body.get("formatOptions", {}).get("useInt64Timestamp", False)).lower()}
        return answer("bigquery#queryResponse", job, options, "POST", self.path)

    def table_list(self, project, name, args):
        dataset(project, name)
        found = sorted(t for t in WORLD.tables if t[0] == project and t[1] == name)
        start, bound = int(args.get("pageToken") or 0), int(args.get("maxResults") or 50)
        out = {"kind": "bigquery#tableList", "etag": "e", "totalItems": len(found), "tables": [
            {"kind": "bigquery#table", "id": f"{p}:{d}.{t}", "type": WORLD.tables[(p, d, t)].type, "creationTime":
             str(WORLD.tables[(p, d, t)].modified), "tableReference": WORLD.tables[(p, d, t)].reference()}
            for p, d, t in found[start:start + bound]]}
        if start + bound < len(found):
            out["nextPageToken"] = str(start + bound)
        return out

    def table_data(self, table, args, method):
        job = Job(table.project, table.full_id(), "US", {})
        job.fields = table.schema
        if args.get("selectedFields"):
            names = {n.split(".")[0] for n in args["selectedFields"].split(",")}
            job.fields = [f for f in table.schema if f["name"] in names]
        job.rows = [[r.get(f["name"]) for f in job.fields] for r in table.rows]
        members, rows = rows_page(job, args, method, self.path)
        text = json.dumps({"kind": "bigquery#tableDataList", "etag": uuid.uuid4().hex, **members})[:-1].encode()
        return text + (b', "rows": [' + b",".join(rows) + b"]}" if rows else b"}")

    def storage(self, method, path, args):
        m = re.match(r"(?:/download)?/storage/v1/b/([^/]+)/o(?:/(.+))?$", path)
        if not m:
            raise Failure("notFound", "Not Found")
        bucket, name = urllib.parse.unquote(m[1]), m[2] and urllib.parse.unquote(m[2])

        def metadata(key):
            body = WORLD.objects[key]
            return {"kind": "storage#object", "name": key[1], "bucket": bucket, "size": str(len(body)), "generation": "1",
                    "md5Hash": base64.b64encode(hashlib.md5(body).digest()).decode(), "contentType": "application/octet-stream"}
        if not name:
            found = sorted(k for k in WORLD.objects if k[0] == bucket and k[1].startswith(args.get("prefix", "")))
            start, bound = int(args.get("pageToken") or 0), int(args.get("maxResults") or 1000)
            out = {"kind": "storage#objects"}
            if found:
                out["items"] = [metadata(k) for k in found[start:start + bound]]
            if start + bound < len(found):
                out["nextPageToken"] = str(start + bound)
            return 200, out, {}
        key = (bucket, name)
        if key not in WORLD.objects:
            raise Failure("notFound", f"No such object: {bucket}/{name}")
        if method == "DELETE":
            del WORLD.objects[key]
            return 204, b"", {}
        if args.get("alt") != "media":
            return 200, metadata(key), {}
        body = WORLD.objects[key]
        m = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", ""))
        if not m:
            return 200, body, {}
        first, last = int(m[1]), min(int(m[2] or len(body)), len(body) - 1)
        if first >= len(body):
            return 416, b"", {"Content-Range": f"bytes */{len(body)}"}
        return 206, body[first:last + 1], {"Content-Range": f"bytes {first}-{last}/{len(body)}"}

    # -- control --

    def control(self, what, body):
        each = body if isinstance(body, list) else [body]
        with WORLD.lock:
            if what == "tables":
                for spec in each:
                    table = data.Table(spec)
                    WORLD.tables[(table.project, table.dataset, table.name)] = table
                    place = spec.get("location") or WORLD.locations.get((table.project, table.dataset), "US")
                    WORLD.locations[(table.project, table.dataset)] = place
            elif what == "drop":
                del WORLD.tables[(body["project"], body["dataset"], body["table"])]
            elif what == "settings":
                WORLD.settings.update(body)
            elif what == "accounts":
                for a in each:
                    if "email" in a:
                        WORLD.keys[a["email"]] = a["public_key"]
                    else:
                        WORLD.refresh[a["refresh_token"]] = (a["client_id"], a["client_secret"])
            elif what == "faults":
                WORLD.faults += each
            elif what == "expire":
                WORLD.tokens.clear()
            elif what == "clear":
                WORLD.log.clear()
                WORLD.faults.clear()
            elif what == "left":
                return sum(max(f.get("n", 1), 0) for f in WORLD.faults)
            elif what == "log":
                return WORLD.log
            elif what == "objects":
                return [f"gs://{b}/{n}" for b, n in sorted(WORLD.objects)]
            else:
                raise Failure("notFound", "Not Found")
        return {}

    # -- the way of a request --

    def authorized(self):
        if not WORLD.settings["auth"]:
            return True
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        return kind == "Bearer" and WORLD.tokens.get(token, 0) > time.time()

    def note(self, method, path, args, body):
        entry = {"method": method, "path": path, "query": args, "authorized": "Authorization" in self.headers,
                 "headers": {k.lower(): v for k, v in self.headers.items()
                             if k.lower() in ("user-agent", "accept-encoding", "range", "x-goog-user-project", "content-type")}}
        if isinstance(body, dict) and path != "/token":
            entry["body"] = body
        WORLD.log.append(entry)

    def handle_one(self, method):
        url = urllib.parse.urlsplit(self.path)
        args = {k: v[-1] for k, v in urllib.parse.parse_qs(url.query, keep_blank_values=True).items()}
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            raw = gzip.decompress(raw)
        path = url.path[len("/bigquery/v2"):] if url.path.startswith("/bigquery/v2/") else url.path
        form = self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
        try:
            body = {k: v[-1] for k, v in urllib.parse.parse_qs(raw.decode()).items()} if form else json.loads(raw or b"null")
        except ValueError:
            return self.send(400, Failure("parseError", "Parse Error").body())
        if path.startswith("/control/"):
            return self.send(200, self.control(path[len("/control/"):], body))
        self.note(method, path, args, body)
        fault = WORLD.fault(method, self.path, ("status", "html", "reset", "slow", "broken"))
        if fault and fault["kind"] == "slow":
            time.sleep(fault["seconds"])
        elif fault and fault["kind"] == "reset":
            self.close_connection = True
            return None
        elif fault and fault["kind"] == "broken":
            return self.send(200, b'{"kind": "bigquery#queryResponse", "rows": [{"f": [{"v": "{}"}]}, oops')
        elif fault and fault["kind"] == "html":
            return self.send(fault.get("status", 503), b"<html><title>Error 503 (Server Error)!!1</title></html>",
                             {"Content-Type": "text/html; charset=UTF-8"})
        elif fault:
            f = Failure(fault.get("reason", "backendError"), fault.get("message", "injected"), fault["status"])
            extra = {"Retry-After": str(fault["retry_after"])} if "retry_after" in fault else {}
            return self.send(f.status, f.body(), extra)
        if path == "/token":
            return self.send(*grant(body or {}))
        if path == "/computeMetadata/v1/instance/service-accounts/default/token":
            if self.headers.get("Metadata-Flavor") != "Google":
                return self.send(403, b"Missing Metadata-Flavor:Google header.", {"Content-Type": "text/plain"})
            return self.send(200, new_token(), {"Metadata-Flavor": "Google"})
        if not self.authorized():
            f = Failure("authError", "Request had invalid authentication credentials.", 401, "Authorization")
            return self.send(401, f.body(), {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'})
        if "/storage/v1/" in path:
            return self.send(*self.storage(method, path, args))
        return self.send(200, self.projects(method, path, args, body))

    def send(self, status, body, extra=None):
        extra = dict(extra or {})
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        kind = extra.pop("Content-Type", "application/json; charset=UTF-8")
        if WORLD.settings["gzip"] and "gzip" in self.headers.get("Accept-Encoding", "") and len(body) > 1000 and \
                "alt=media" not in self.path:
            body = gzip.compress(body, 1)
            extra["Content-Encoding"] = "gzip"
        cut = WORLD.fault(self.command, self.path, ("cut",)) if not self.path.startswith("/control/") else None
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for k, v in extra.items():
            self.send_header(k, v)
        self.end_headers()
        self.wfile.write(body[:int(len(body) * cut.get("at", 0.5))] if cut else body)
        self.wfile.flush()
        if cut:
            self.close_connection = True

    def answer_request(self):
        try:
            self.handle_one(self.command)
        except Failure as f:
            self.send(f.status, f.body(), f.headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = answer_request


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main():
    server = Server(("127.0.0.1", 0), Handler)
    print(f"port {server.server_address[1]}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
