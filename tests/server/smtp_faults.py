"""Mail servers for the tests of garun.smtp; garun starts them, reads "PORT n" from their output and ends them.

    smtp_faults.py real CONFIG     aiosmtpd: a real server, with STARTTLS, AUTH and SMTPUTF8
    smtp_faults.py faults CONFIG   a server that says and does what CONFIG tells it to

CONFIG is JSON. Both write what happened to the file CONFIG["log"], one JSON object a line, before they answer.

faults: for each of "banner", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "DOT", "NOOP", "RSET", "QUIT" an action,
or a list of them, of which each use takes one and the last stays. An action is a text to send (lines end by themselves),
"drop" (close), "reset" (close with RST), "silence" (never answer), "garbage", "flood" (endless reply), or
{"until": path, "say": action}, which waits for a file of that name. "drop_body": n closes after n bytes of a body, "talk_body": text is sent after the first
bytes of one. "stall": read nothing after DATA. "cert" and "key": for TLS; "implicit": true; "client_ca": clients must
show a certificate of it. "host", "socket": where to listen.
"""
import base64
import json
import os
import socket
import struct
import sys
import threading
import time

config = json.loads(sys.argv[2])
lock = threading.Lock()
log_file = open(config["log"], "ab", buffering=0)


def log(**what):
    with lock:
        log_file.write(json.dumps(what).encode() + b"\n")


def tls_context():
    import ssl      # here, for loading it takes longer than most tests do
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(config["cert"], config["key"])
    if "client_ca" in config:
        context.load_verify_locations(config["client_ca"])
        context.verify_mode = ssl.CERT_REQUIRED
    return context


# ---- aiosmtpd ----

class Handler:
    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address.startswith("unknown@"):
            return "550 5.1.1 no such user"
        if address.startswith("later@"):
            return "451 4.7.1 greylisted"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server, session, envelope):
        log(peer=session.peer[1], mail_from=envelope.mail_from, rcpt_tos=envelope.rcpt_tos,
            options=envelope.mail_options, tls=session.ssl is not None, user=str(session.auth_data or ""),
            content=base64.b64encode(envelope.original_content).decode())
        return "250 2.0.0 Ok: queued as 4ABC%d" % session.peer[1]


def real():
    import asyncio
    from aiosmtpd.smtp import SMTP, AuthResult

    def authenticate(server, session, envelope, mechanism, data):
        good = data.login == config["user"].encode() and data.password == config["password"].encode()
        return AuthResult(success=good, handled=False, auth_data=data.login.decode() if good else None)

    def session():
        options = {"hostname": "relay.test", "enable_SMTPUTF8": True, "data_size_limit": 8 << 20}
        if "cert" in config and not config.get("implicit"):
            options.update(tls_context=tls_context(), require_starttls=True)
        if "user" in config:
            options.update(authenticator=authenticate, auth_required=True, auth_require_tls=not config.get("implicit"))
        return SMTP(Handler(), **options)

    async def main():
        server = await asyncio.get_running_loop().create_server(
            session, "127.0.0.1", 0, ssl=tls_context() if config.get("implicit") else None)
        print("PORT", server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(main())


# ---- faults ----

class Gone(Exception):
    pass


defaults = {
    "banner": "220 relay.test ESMTP", "EHLO": "250-relay.test\n250-PIPELINING\n250-SIZE 33554432\n250 8BITMIME",
    "HELO": "250 relay.test", "STARTTLS": "220 go ahead", "MAIL": "250 2.1.0 ok", "RCPT": "250 2.1.5 ok",
    "DATA": "354 go ahead", "DOT": "250 2.0.0 Ok: queued as QID", "NOOP": "250 ok", "RSET": "250 ok", "QUIT": "221 bye",
    "AUTH": "235 2.7.0 welcome",
}
used = {}


class Peer:
    def __init__(self, sock, number):
        self.sock, self.number, self.buffer = sock, number, b""

    def more(self):
        got = self.sock.recv(65536)
        if not got:
            raise Gone("the client closed")
        self.buffer += got

    def line(self):
        while b"\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line + b"\n"

    def close(self, reset=False):
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Gone("closed by the script")

    def act(self, action):
        if isinstance(action, dict):
            while not os.path.exists(action["until"]):
                time.sleep(0.005)
            action = action["say"]
        if action in ("drop", "reset"):
            self.close(action == "reset")
        if action == "silence":
            while True:
                self.more()
        if action == "garbage":
            self.sock.sendall(b"\x00\xff what is this?\r\n")
        elif action == "flood":
            while True:
                self.sock.sendall(b"250-" + b"x" * 60 + b"\r\n")
        else:
            self.sock.sendall(action.replace("\n", "\r\n").encode() + b"\r\n")
        return action

    def answer(self, what):
        actions = config.get(what, defaults.get(what, "502 unknown command"))
        if isinstance(actions, list):
            with lock:
                n = used.get(what, 0)
                used[what] = n + 1
            actions = actions[min(n, len(actions) - 1)]
        return self.act(actions)

    def body(self):
        """Everything up to and with the final dot, as it was on the wire."""
        self.act(config["talk_body"]) if "talk_body" in config else None
        while not (self.buffer.startswith(b".\r\n") or b"\r\n.\r\n" in self.buffer):
            if "drop_body" in config and len(self.buffer) >= config["drop_body"]:
                self.close()
            before = len(self.buffer)
            self.more()
            log(conn=self.number, part=len(self.buffer) - before, have=len(self.buffer))
        if self.buffer.startswith(b".\r\n"):
            at = 3
        else:
            at = self.buffer.index(b"\r\n.\r\n") + 5
        wire, self.buffer = self.buffer[:at], self.buffer[at:]
        log(conn=self.number, wire=base64.b64encode(wire).decode(), behind=len(self.buffer))

    def serve(self):
        if config.get("implicit"):
            self.sock = tls_context().wrap_socket(self.sock, server_side=True)
        self.answer("banner")
        while True:
            line = self.line()
            command = line.decode("utf-8", "replace").rstrip("\r\n")
            verb = command.split(" ")[0].split(":")[0].upper()
            log(conn=self.number, command=command, ahead=len(self.buffer))
            said = self.answer(verb)
            if verb == "STARTTLS" and said.startswith("220"):
                self.buffer = b""
                self.sock = tls_context().wrap_socket(self.sock, server_side=True)
            if verb == "AUTH" and said.startswith("334"):
                self.line()
                self.answer("AUTH")
            if verb == "DATA" and said.startswith("354"):
                while config.get("stall"):
                    time.sleep(1)
                self.body()
                self.answer("DOT")
            if verb == "QUIT":
                return


def one(sock, number):
    peer = Peer(sock, number)
    log(conn=number, event="open")
    try:
        peer.serve()
        why = "quit"
    except (Gone, OSError) as e:
        why = str(e)
    peer.sock.close()
    log(conn=number, event="close", why=why)


def faults():
    if "socket" in config:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(config["socket"])
        listener.listen(64)
    else:
        host = config.get("host", "127.0.0.1")
        listener = socket.create_server((host, 0), backlog=64, family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    print("PORT", 0 if "socket" in config else listener.getsockname()[1], flush=True)
    number = 0
    while True:
        sock, _ = listener.accept()
        number += 1
        threading.Thread(target=one, args=(sock, number), daemon=True).start()


{"real": real, "faults": faults}[sys.argv[1]]()
