"""Reads mails as Python's email package does and compares them with what they were made of; the oracle of mail_test.lua.

    mail_oracle.py FILE    FILE: a JSON list of { spec, bytes, recipients } (bytes, text of files: base64)

Prints a line for each difference, and "N mails" at the end."""
import base64
import email
import email.policy
import email.utils
import json
import re
import sys
from email.header import decode_header, make_header


def canonical(text):
    text = re.sub("\r\n|\r|\n", "\n", text)
    return text if text == "" or text.endswith("\n") else text + "\n"


def defects(part):
    found = list(part.defects)
    for name, value in part.items():
        found += [f"{name}: {d!r}" for d in getattr(value, "defects", [])]
    return found


class Check:
    def __init__(self, number, case):
        self.number, self.spec, self.raw = number, case["spec"], base64.b64decode(case["bytes"])
        self.case = case

    def same(self, what, got, want):
        if got != want:
            print(f"mail {self.number}: {what}: got {got!r}, want {want!r}")

    def wire(self):
        self.same("line ends", re.sub(b"\r\n", b"", self.raw).find(b"\n") + re.sub(b"\r\n", b"", self.raw).find(b"\r"), -2)
        self.same("the end", self.raw[-2:], b"\r\n")
        head, _, body = self.raw.partition(b"\r\n\r\n")
        self.same("8 bit", max(self.raw) > 127, self.case["smtputf8"])
        for line in body.split(b"\r\n"):
            if len(line) > 76:
                self.same("a long line of the body", line, b"")
        for line in head.split(b"\r\n"):
            free = re.match(rb"List-Unsubscribe:|Message-ID:|([A-Z][a-z-]*:)? ?<?[^ ]*@[^ ]*>?,?$", line)
            if len(line) > (998 if free else 78):
                self.same("a long line of the head", line, b"")
            self.same("an empty folded line", line.strip() == b"", False)
            for word in re.findall(rb"=\?[^ ]*\?=", line):
                kind = re.fullmatch(rb"=\?UTF-8\?([BQ])\?([^? ]*)\?=", word)
                if not kind or len(word) > 75 or len(line) > 76:
                    if b"X-Raw" not in line:
                        self.same("an encoded word", word, b"one of 75 characters in a line of 76")
                    continue
                data = base64.b64decode(kind[2]) if kind[1] == b"B" else re.sub(
                    rb"=(..)", lambda m: bytes([int(m[1], 16)]), kind[2].replace(b"_", b" "))
                try:
                    data.decode("utf-8")
                except UnicodeDecodeError:
                    self.same("an encoded word splits a character", word, b"")

    def addresses(self, mail, header, want):
        if want is None:
            return
        want = want if isinstance(want, list) else [want]
        got = [[a.display_name, a.username + "@" + a.domain] for a in mail[header].addresses]
        # The blanks between encoded words of a phrase do not count (RFC 2047, 6.2); that parser keeps them, the older
        # one does not.
        old = email.message_from_string(self.raw.decode("utf-8"))[header]
        if "=?" in str(old):
            got = [[str(make_header(decode_header(name))), address]
                   for name, address in email.utils.getaddresses([re.sub("\r?\n", "", str(old))])]
        self.same(header, got, [[a.get("name", ""), a["ascii"]] for a in want])

    def file(self, part, want, disposition):
        kind, _, rest = (want.get("type") or "application/octet-stream").partition(";")
        self.same("a file's type", part.get_content_type(), kind.lower())
        if "charset=" in rest:
            self.same("a file's charset", part.get_param("charset"), rest.split("=")[1].strip())
        self.same("a file's disposition", part.get_content_disposition(), disposition)
        self.same("a file's name", part.get_filename(), want.get("name"))
        self.same("a file's bytes", part.get_payload(decode=True), base64.b64decode(want["data"]))
        if "cid" in want:
            self.same("a cid", part["Content-ID"], "<" + want["cid"] + ">")

    def shape(self, part):
        if part.is_multipart():
            return [part.get_content_subtype()] + [self.shape(p) for p in part.iter_parts()]
        return part.get_content_type()

    def run(self, policy):
        spec = self.spec
        if self.case["smtputf8"]:
            mail = email.message_from_string(self.raw.decode("utf-8"), policy=policy.clone(utf8=True))
        else:
            mail = email.message_from_bytes(self.raw, policy=policy)
        for part in mail.walk():
            if not self.case["smtputf8"]:      # the parser calls that a defect
                self.same("defects", defects(part), [])
        inline, files = spec.get("inline") or [], spec.get("attachments") or []
        self.same("Subject", mail["Subject"], spec.get("subject"))
        self.addresses(mail, "From", spec["from"])
        self.addresses(mail, "To", spec["to"])
        self.addresses(mail, "Cc", spec.get("cc"))
        self.addresses(mail, "Reply-To", spec.get("reply_to"))
        self.same("Date", mail["Date"].datetime.timestamp(), spec["date"])
        self.same("Message-ID", mail["Message-ID"], spec["message_id"])
        for name, value in (spec.get("headers") or {}).items():
            # A value that begins on the second line keeps the blank before it here.
            self.same(name, mail[name].lstrip(" ") if len(name) > 50 else mail[name], value)
        html = "text/html" if "html" in spec else None
        if inline:
            html = ["related", html] + [i["type"].split(";")[0].lower() for i in inline]
        text = "text/plain" if "text" in spec else None
        body = ["alternative", text, html] if text and html else text or html
        if files:
            body = ["mixed", body] + [(f.get("type") or "application/octet-stream").split(";")[0].lower() for f in files]
        self.same("the structure", self.shape(mail), body)
        for kind, name in (("plain", "text"), ("html", "html")):
            if name in spec:
                part = mail.get_body((kind,))
                self.same(name, canonical(part.get_payload(decode=True).decode("utf-8")), canonical(spec[name]))
                self.same(name + " by get_content", canonical(part.get_content()), canonical(spec[name]))
        for part, want in zip(mail.iter_attachments() if files else [], files):
            self.file(part, want, "attachment")
        if inline:
            related = [p for p in mail.walk() if p.get_content_type() == "multipart/related"][0]
            for part, want in zip(list(related.iter_parts())[1:], inline):
                self.file(part, want, "inline")


cases = json.load(open(sys.argv[1], encoding="utf-8"))
for number, case in enumerate(cases, 1):
    check = Check(number, case)
    check.wire()
    check.run(email.policy.default)
    check.run(email.policy.SMTP)
print(f"{len(cases)} mails")
