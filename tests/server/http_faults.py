#!/usr/bin/python3
"""http_faults.py - an HTTP/1.1 server that does wrong on demand, for the tests of garun.http.

    http_faults.py [--cert FILE --key FILE [--client-ca FILE]] [--ipv6] [--proxy-auth USER:PASSWORD]

Listens on a free port of the loopback and prints its number as one line. Speaks from raw sockets, so that a fault is
exactly what its path says; the first part of the path names the behaviour, the query its parameters. Ends when its
standard input does. The server is no model of a good one: it trusts its one client.
"""
import argparse
import base64
import email
import email.policy
import email.utils
import hashlib
import json
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.parse
import zlib

lock = threading.Lock()
counts = {}          # key -> number of requests, for paths that change their mind
connections = 0
released = {}        # key -> threading.Event, for paths that wait until another request says so


def count(key):
    with lock:
        counts[key] = counts.get(key, 0) + 1
        return counts[key]


def event(key):
    with lock:
        return released.setdefault(key, threading.Event())


def pattern(size, start=0):
    """Bytes that tell their own place: lines of 16 bytes with their offset."""
    first, last = start // 16, (start + size + 15) // 16
    return b"".join(b"%015x\n" % i for i in range(first, last))[start - first * 16:][:size]


def gzipped(data, level=6):
    z = zlib.compressobj(level, zlib.DEFLATED, 31)
    return z.compress(data) + z.flush()


class Closed(Exception):
    """The connection is over."""


class Connection:
    def __init__(self, sock):
        self.sock, self.buffer, self.served = sock, b"", 0

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise Closed
        self.buffer += data

    def read_head(self):
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, self.protocol = lines[0].split(" ")
        self.raw_headers = [tuple(p.strip() for p in line.split(":", 1)) for line in lines[1:]]
        self.headers = {k.lower(): v for k, v in self.raw_headers}
        self.path, _, query = self.target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))

    def take(self, n):
        while len(self.buffer) < n:
            self.fill()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.fill()
        text, self.buffer = self.buffer.split(b"\r\n", 1)
        return text

    def read_body(self):
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            parts = []
            while True:
                size = int(self.line().split(b";")[0], 16)
                if size == 0:
                    while self.line():
                        pass
                    return b"".join(parts)
                parts.append(self.take(size))
                self.take(2)
        return self.take(int(self.headers.get("content-length", 0)))

    def send(self, data):
        self.sock.sendall(data)

    def head(self, status=200, headers=(), protocol="HTTP/1.1"):
        text = f"{protocol} {status} Said So\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers) + "\r\n"
        self.send(text.encode("latin-1"))

    def answer(self, body=b"", status=200, headers=()):
        if isinstance(body, str):
            body = body.encode()
        text = f"HTTP/1.1 {status} Said So\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers) \
            + f"Content-Length: {len(body)}\r\n\r\n"
        self.send(text.encode("latin-1") + (b"" if self.method == "HEAD" else body))

    def reset(self):
        """Closes with a RST, as a killed machine or a firewall does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Closed

    def until_gone(self):
        """Says nothing more until the client has had enough."""
        while True:
            self.fill()

    def number(self, name, default=0):
        return int(self.query.get(name, default))


# ---- what the paths do ----

def do_echo(c):
    body = c.read_body()
    c.answer(json.dumps({
        "method": c.method, "target": c.target, "headers": c.raw_headers, "length": len(body),
        "sha256": hashlib.sha256(body).hexdigest(), "body": body.decode("latin-1") if len(body) < 65536 else None,
        "served": c.served, "connection": c.number_of,
    }), headers=[("Content-Type", "application/json")])


def do_multipart(c):
    """The parts, as Python's own parser of MIME sees them."""
    body = c.read_body()
    message = email.message_from_bytes(b"Content-Type: " + c.headers["content-type"].encode() + b"\r\n\r\n" + body,
                                       policy=email.policy.HTTP)
    parts = []
    for part in message.get_payload():
        data = part.get_payload(decode=True)
        one = {"name": part.get_param("name", header="content-disposition"), "filename": part.get_filename(),
               "length": len(data), "type": part["content-type"]}
        if len(data) < 1000:
            one["body"] = data.decode("latin-1")
        else:
            one["sha256"] = hashlib.sha256(data).hexdigest()
        parts.append({k: v for k, v in one.items() if v is not None})
    c.answer(json.dumps(parts))


def do_text(c):
    """The body given by the query or by the request; any header as h=Name:value, several with | between."""
    sent = c.read_body()
    extra = [tuple(h.split(":", 1)) for h in c.query.get("h", "").split("|") if h]
    c.answer(c.query.get("body", sent), c.number("status", 200), extra)


def do_count(c):
    """How often the key was asked for, by whatever path."""
    with lock:
        n = counts.get(c.query["key"], 0)
    c.answer(str(n))


def do_connections(c):
    c.answer(str(connections))


def do_flaky(c):
    """Fails the first `fail` times with `status`, then answers."""
    c.read_body()
    n = count(c.query["key"])
    if n <= c.number("fail"):
        extra = [("Retry-After", c.query["after"])] if "after" in c.query else []
        if "after_date" in c.query:
            now = time.time()
            extra = [("Date", email.utils.formatdate(now, usegmt=True)),
                     ("Retry-After", email.utils.formatdate(now + c.number("after_date"), usegmt=True))]
        c.answer(b"not yet", c.number("status", 503), extra)
    else:
        c.answer(f"attempt {n}")


def do_dropped(c):
    """Reads the request and closes without an answer the first `fail` times."""
    c.read_body()
    n = count(c.query["key"])
    if n <= c.number("fail"):
        if "reset" in c.query:
            c.reset()
        raise Closed
    c.answer(f"attempt {n}")


def do_kept(c):
    """Answers the first request of a connection; at the next one it reads it and dies."""
    c.read_body()
    count(c.query["key"])
    if c.served > 1:
        c.reset()
    c.answer(b"kept")


def do_redirect(c):
    c.read_body()
    n = c.number("n", 1)
    to = c.query.get("to") or (f"/redirect?n={n - 1}&status={c.number('status', 302)}" if n > 1 else "/echo")
    c.answer(b"moved", c.number("status", 302), [("Location", to)])


def do_bytes(c):
    """size bytes of the pattern; ranges with ETag and Last-Modified; `cut` bytes at most the first `cuts` times."""
    size, etag, start, status, extra = c.number("size"), c.query.get("etag"), 0, 200, []
    key = c.query.get("key", "")
    n = count(key)
    modified = c.query.get("modified", "Mon, 01 Jan 2024 00:00:00 GMT")
    if etag:
        extra.append(("ETag", f'"{etag}"' if not etag.startswith("W/") else etag))
    if "no_modified" not in c.query:
        extra.append(("Last-Modified", modified))
    asked = c.headers.get("range")
    condition = c.headers.get("if-range")
    if asked and "no_range" not in c.query and condition in (None, f'"{etag}"' if etag else None, modified):
        start = int(asked[len("bytes="):].split("-")[0])
        if start >= size:
            c.answer(b"", 416, extra + [("Content-Range", f"bytes */{size}")])
            return
        status = 206
        told = start + c.number("wrong_start")
        extra.append(("Content-Range", f"bytes {told}-{size - 1}/{size}"))
    left = size - start
    c.head(status, extra + [("Content-Length", left)])
    if c.method == "HEAD":
        return
    limit = c.number("cut", left) if n <= c.number("cuts") else left
    sent = 0
    while sent < min(limit, left):
        piece = min(1 << 20, limit - sent, left - sent)
        c.send(pattern(piece, start + sent))
        sent += piece
    if limit < left:
        raise Closed


def do_changing(c):
    """The first request is cut in the middle of version 1, from then on it is version 2."""
    c.query["etag"] = "v1" if count("changing " + c.query["key"]) == 1 else "v2"
    c.query.update(cut="2000000", cuts="1")
    do_bytes(c)


def do_paused(c):
    """As /bytes with an ETag, but stops after `after` bytes until the key is released."""
    if event(c.query["key"]).is_set():
        do_bytes(c)
        return
    size = c.number("size")
    c.head(200, [("ETag", '"' + c.query["etag"] + '"'), ("Content-Length", size)])
    c.send(pattern(c.number("after")))
    count("paused " + c.query["key"])
    event(c.query["key"]).wait(60)
    raise Closed


def do_cut(c):
    """`cut` of `size` bytes; how = length, chunked, chunk (no last chunk), reset."""
    count(c.query.get("key", ""))
    size, cut, how = c.number("size", 1000), c.number("cut", 400), c.query.get("how", "length")
    data = pattern(cut)
    if how in ("length", "reset"):
        c.head(200, [("Content-Length", size)])
        c.send(data)
    elif how == "chunked":
        c.head(200, [("Transfer-Encoding", "chunked")])
        c.send(b"%x\r\n" % size + data)
    elif how == "chunk":
        c.head(200, [("Transfer-Encoding", "chunked")])
        c.send(b"%x\r\n" % len(data) + data + b"\r\n")
    if how == "reset":
        time.sleep(0.05)      # a reset throws away what was not read yet; this is no synchronisation
        c.reset()
    raise Closed


def do_chunked(c):
    """size bytes in chunks of `piece`, with an extension and a trailer."""
    size, piece = c.number("size"), c.number("piece", 1000)
    c.head(200, [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")])
    data = pattern(size)
    for at in range(0, size, piece):
        part = data[at:at + piece]
        c.send(b"%x;x=y\r\n" % len(part) + part + b"\r\n")
    c.send(b"0\r\nX-Sum: 1\r\n\r\n")


def do_unframed(c):
    """No length, no chunks: the body ends with the connection."""
    c.head(c.number("status", 200), [("Content-Type", "text/plain")], c.query.get("protocol", "HTTP/1.0"))
    c.send(c.query.get("body", "what there is").encode())
    raise Closed


def do_stall(c):
    """Sends `after` bytes of a body of 1000 and then nothing; after=-1: no head either; how=body: reads no body."""
    count(c.query.get("key", ""))
    if c.query.get("how") == "body":
        event(c.query["key"]).wait(60)
        raise Closed
    after = c.number("after")
    if after >= 0:
        c.head(200, [("Content-Length", 1000)])
        c.send(pattern(after))
    c.until_gone()


def do_wait(c):
    """Answers when another request to /release has come for the key."""
    count("waiting " + c.query["key"])
    event(c.query["key"]).wait(60)
    c.answer(b"released")


def do_release(c):
    event(c.query["key"]).set()
    c.answer(b"")


def do_drip(c):
    """n bytes, one every `ms` milliseconds."""
    n = c.number("n")
    c.head(200, [("Content-Length", n)])
    for _ in range(n):
        c.send(b".")
        time.sleep(c.number("ms") / 1000)


def do_endless(c):
    """A body that does not end; counts what it could send under the key."""
    c.head(200, [("Transfer-Encoding", "chunked")])
    block = b"%x\r\n" % 65536 + b"x" * 65536 + b"\r\n"
    while True:
        c.send(block)
        count(c.query["key"])


def do_gzip(c):
    """how = plain, members, cut, crc, trailing, empty, none (not gzip at all), twice, br, deflate, raw, bomb"""
    how, size = c.query.get("how", "plain"), c.number("size", 100000)
    data, coding = pattern(size), c.query.get("coding", "gzip")
    if how == "members":
        half = size // 2
        out = gzipped(data[:half]) + gzipped(data[half:])
    elif how == "cut":
        out = gzipped(data)[:-20]
    elif how == "crc":
        out = bytearray(gzipped(data))
        out[-6] ^= 1
    elif how == "trailing":
        out = gzipped(data) + b"garbage"
    elif how == "empty":
        out = b""
    elif how == "none":
        out = b"<html>not compressed</html>"
    elif how == "twice":
        out, coding = gzipped(gzipped(data)), "gzip, gzip"
    elif how == "br":
        out, coding = b"\x0b\x02\x80hello\x03", "br"
    elif how == "deflate":
        out, coding = zlib.compress(data), "deflate"
    elif how == "raw":
        z = zlib.compressobj(6, zlib.DEFLATED, -15)
        out, coding = z.compress(data) + z.flush(), "deflate"
    elif how == "bomb":
        out = gzipped(b"\0" * size, 9)
    else:
        out = gzipped(data)
    c.answer(bytes(out), headers=[("Content-Encoding", coding)])


def do_head(c):
    """Heads that are wrong: how = huge, nul, garbage, http09, fold, twice (two lengths), te, interim, empty_reply"""
    how = c.query["how"]
    if how == "huge":
        c.send(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(1000)))
        c.send(b"Content-Length: 2\r\n\r\nok")
    elif how == "nul":
        c.send(b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nok")
    elif how == "garbage":
        c.send(b"\x16\x03\x01 this is not HTTP\x1b[31m\r\n\r\n")
    elif how == "http09":
        c.send(b"<html>old</html>")
    elif how == "fold":
        c.send(b"HTTP/1.1 200 OK\r\nX-Fold: a\r\n  b\r\nX-Twice: 1\r\nx-twice:2\r\nSet-Cookie: a=1, b\r\nSet-Cookie: c=2\r\n"
               b"X-Empty:\r\nContent-Length: 2\r\n\r\nok")
    elif how == "twice":
        c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\nokok")
    elif how == "te":
        c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n" + gzipped(b"hidden"))
    elif how == "interim":
        c.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        return
    raise Closed


def do_early(c):
    """Answers before the request's body has come, and closes."""
    c.answer(b"too much", c.number("status", 413), [("Connection", "close")])
    raise Closed


def do_duplex(c):
    """Sends the request's chunks back while they come."""
    c.head(200, [("Transfer-Encoding", "chunked")])
    while True:
        size = int(c.line().split(b";")[0], 16)
        data = c.take(size)
        c.take(2)
        c.send(b"%x\r\n" % size + data + b"\r\n")
        if size == 0:
            return


def do_via(c):
    """What a plain proxy gets: the whole URL in the request line."""
    c.read_body()
    c.answer(json.dumps({"target": c.target, "headers": c.raw_headers}))


def tunnel(c):
    """CONNECT: bytes both ways, to the loopback only, whatever name was asked for."""
    port = int(c.target.rsplit(":", 1)[1])
    other = socket.create_connection(("127.0.0.1", port))
    c.send(b"HTTP/1.1 200 Connected\r\n\r\n")

    def pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    back = threading.Thread(target=pump, args=(other, c.sock), daemon=True)
    back.start()
    pump(c.sock, other)
    back.join()
    raise Closed


def proxied(c, auth):
    """True when the request was for a proxy and is answered."""
    if c.method != "CONNECT" and not c.target.startswith("http://"):
        return False
    count("proxied")
    if auth:
        want = "Basic " + base64.b64encode(auth.encode()).decode()
        if c.headers.get("proxy-authorization") != want:
            c.answer(b"", 407, [("Proxy-Authenticate", "Basic realm=x")])
            return True
    if c.method == "CONNECT":
        tunnel(c)
    else:
        do_via(c)
    return True


def serve(sock, context, auth):
    global connections
    try:
        if context:
            sock = context.wrap_socket(sock, server_side=True)
        c = Connection(sock)
        with lock:
            connections += 1
            c.number_of = connections
        while True:
            c.read_head()
            c.served += 1
            if proxied(c, auth):
                continue
            name = c.path.strip("/").split("/")[0]
            behaviour = globals().get("do_" + name)
            if behaviour:
                behaviour(c)
            else:
                c.read_body()
                c.answer(b"no such path", 404)
    except (Closed, OSError, ValueError):
        pass
    finally:
        sock.close()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--cert")
    options.add_argument("--key")
    options.add_argument("--client-ca")
    options.add_argument("--ipv6", action="store_true")
    options.add_argument("--proxy-auth")
    args = options.parse_args()
    context = None
    if args.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.cert, args.key)
        if args.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(args.client_ca)
    server = socket.socket(socket.AF_INET6 if args.ipv6 else socket.AF_INET)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::1" if args.ipv6 else "127.0.0.1", 0))
    server.listen(256)

    def accept():
        while True:
            sock, _ = server.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(sock, context, args.proxy_auth), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(server.getsockname()[1], flush=True)
    sys.stdin.read()


main()
