#!/usr/bin/python3
"""encode_oracle.py - the encoder against an independent reader: Python's json.

Makes random records (and damages some), runs them through the encode_oracle program and compares, line by line, what
must come out: the null-stripped record, the values of paths, the verdict on damaged lines.
Usage: encode_oracle.py PROGRAM [rounds [seed]], from the project's root.
"""
import json
import random
import re
import subprocess
import sys
import tempfile
from decimal import Decimal

PLAN = r"""
return { tables = { { name = "t", columns = {
  { name = "whole", type = "jsonb", from = "." },
  { name = "a", type = "text", from = "a" },
  { name = "ab", type = "jsonb", from = "a.b" },
  { name = "odd", type = "text", from = 'o."x.y"' },
  { name = "item", type = "text", from = "items[0].id" },
  { name = "third", type = "jsonb", from = "items[2]" },
  { name = "one", type = "text", from = { "ps[key=one].value.s", { path = "ps[key=one].value.i", as = "number" } } },
  { name = "two", type = "jsonb", from = "ps[key=two].value" },
  { name = "fold", type = "text", from = "ps[key~Fold].value.s" },
  { name = "num", type = "numeric", from = "num" },
} } } }
"""
KEYS = ["a", "b", "c", "o", "x.y", "items", "ps", "key", "value", "s", "i", "id", "num", "other_name_1", "other_name_2",
        "\u00e9t\u00e9", "quote\"d", "back\\slash", "tab\t", "\U0001F600", "null", "event_params_of_some_length", ""]
STRINGS = ["", "x", "one", "two", "fold", "FOLD", "Fold", "a\\b", "tab\there", "nl\nx", "quote\"", "\u00fcber",
           "\U0001F600\U0001F601", "</script>", "\x7f", "\u2028", "x" * 70, "\\N", "\\.", "null", "16.0", "\b\f\r",
           "0", "123456789012345678901234567890", "\x01\x1f", "\ufffd"]


class Raw(str):
    """A number as it is written."""


class Pairs(list):
    """An object as its members in order, duplicates and all."""


def number(r):
    return Raw(r.choice([
        str(r.randint(-9, 9)), str(r.randint(-2**63, 2**63)), "%d.%d" % (r.randint(0, 999), r.randint(0, 999)),
        "-0", "0.0", "1E5", "1.5e-7", "-2.50E+3", "1e400", "9" * 60, "0.000", "1e131071", "1e131072", "1e-16383",
        "1e-16384", "1" + "0" * 40 + ".5"]))


def value(r, depth):
    k = r.random()
    if k < 0.18:
        return None
    if k < 0.45:
        return r.choice(STRINGS)
    if k < 0.62:
        return number(r)
    if k < 0.7:
        return r.random() < 0.5
    if depth > 5:
        return None
    if k < 0.86:
        return obj(r, depth + 1)
    return [value(r, depth + 1) for _ in range(r.randint(0, 4))]


def obj(r, depth):
    return Pairs([(r.choice(KEYS), value(r, depth)) for _ in range(r.choice([0, 1, 2, 3, 5, 8]))])


def element(r):
    """An element of a looked-up array, its key first, last or missing."""
    members = [("value", Pairs([(k, value(r, 4)) for k in r.sample(["s", "i", "x"], r.randint(0, 3))]))]
    if r.random() < 0.3:
        members.append(("extra", value(r, 4)))
    if r.random() < 0.9:
        key = r.choice(["one", "two", "fold", "FOLD", "other", Raw("7"), None])
        members.insert(r.randint(0, len(members)), ("key", key))
    return Pairs(members)


def record(r):
    members = list(obj(r, 0))
    for name, make in (("items", lambda: [r.choice([obj(r, 3), value(r, 4)]) for _ in range(r.randint(0, 4))]),
                       ("ps", lambda: [r.choice([element(r), element(r), value(r, 4)])
                                       for _ in range(r.randint(0, 6))]),
                       ("num", lambda: number(r)), ("a", lambda: r.choice([obj(r, 2), value(r, 3)])),
                       ("o", lambda: Pairs([("x.y", value(r, 4))]))):
        if r.random() < 0.7:
            members.insert(r.randint(0, len(members)), (name, make()))
    return Pairs(members)


def write_string(r, s):
    out = []
    for c in s:
        code = ord(c)
        if c in '"\\' or code < 0x20:
            short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}.get(c)
            out.append(short if short and r.random() < 0.8 else "\\u%04x" % code)
        elif r.random() < 0.04:
            if code >= 0x10000:
                code -= 0x10000
                out.append("\\u%04X\\u%04x" % (0xD800 + (code >> 10), 0xDC00 + (code & 0x3FF)))
            else:
                out.append("\\u%04x" % code)
        else:
            out.append(c)
    return '"' + "".join(out) + '"'


def write(r, v, loose):
    sp = (lambda: r.choice(["", "", " ", "\t", "  ", "\r"])) if loose else (lambda: "")
    if isinstance(v, Pairs):
        return "{" + sp() + ",".join(sp() + write_string(r, k) + sp() + ":" + sp() + write(r, x, loose) + sp()
                                     for k, x in v) + "}"
    if isinstance(v, list):
        return "[" + sp() + ",".join(sp() + write(r, x, loose) + sp() for x in v) + "]"
    if isinstance(v, Raw):
        return str(v)
    if isinstance(v, str):
        return write_string(r, v)
    return json.dumps(v)


class Num:
    """A number, compared by its exact text."""

    def __init__(self, s):
        self.s = s

    def __eq__(self, other):
        return isinstance(other, Num) and self.s == other.s

    def __repr__(self):
        return "Num(%s)" % self.s


def load(text):
    def bad(_):
        raise ValueError("no number")
    return json.loads(text, parse_int=Num, parse_float=Num, parse_constant=bad)


def fits(s):
    m = re.fullmatch(r"-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?", s)
    power = int(m.group(3) or 0)
    if power == 0 and len(s) <= 16000:
        return True
    return len(m.group(1)) + power <= 131072 and len(m.group(2) or "") - power <= 16383


def strip(v):
    """What jsonb has to see: no null members, huge numbers as strings, broken characters replaced."""
    if isinstance(v, dict):
        return {repair(k): strip(x) for k, x in v.items() if x is not None}
    if isinstance(v, list):
        return [strip(x) for x in v]
    if isinstance(v, Num):
        return v if fits(v.s) else v.s
    return repair(v) if isinstance(v, str) else v


def repair(s):
    return "".join("\ufffd" if c == "\0" or 0xD800 <= ord(c) < 0xE000 else c for c in s)


def no_nulls(v):
    """The output may still hold null members where names repeat; they count as absent."""
    if isinstance(v, dict):
        return {k: no_nulls(x) for k, x in v.items() if x is not None}
    if isinstance(v, list):
        return [no_nulls(x) for x in v]
    return v


def uncopy(field):
    if field == "\\N":
        return None
    return re.sub(r"\\(.)", lambda m: {"t": "\t", "n": "\n", "r": "\r"}.get(m.group(1), m.group(1)), field)


def path(v, *steps):
    for s in steps:
        if isinstance(s, int):
            v = v[s] if isinstance(v, list) and len(v) > s else None
        elif isinstance(s, tuple):
            def is_it(e):
                key = e.get("key") if isinstance(e, dict) else None
                key = key.s if isinstance(key, Num) else key
                return isinstance(key, str) and (key.lower() == s[0].lower() if s[1] else key == s[0])
            v = next((e for e in v if is_it(e)), None) if isinstance(v, list) else None
        else:
            v = v.get(s) if isinstance(v, dict) else None
    return v


def plain(s):
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", s):
        return s
    d = Decimal(s)
    out = format(d, "f")
    if "." in out:
        out = out.rstrip("0").rstrip(".")
    zeros = len(out) - len(d.as_tuple().digits)
    if zeros > 45 and "e" in s.lower():
        return s
    return "0" if re.fullmatch(r"-?0*", out) else out


def check_text(what, got, v, as_number=False):
    if v is None:
        return got is None or (what, got, v)
    if got is None:
        return (what, got, v)
    if isinstance(v, (dict, list)):
        return no_nulls(load(got)) == strip(v) or (what, got, v)
    if isinstance(v, bool):
        want = "true" if v else "false"
    elif isinstance(v, Num):
        want = plain(v.s) if as_number else v.s
    else:
        want = repair(v)
        want = plain(want) if as_number else want
    return got == want or (what, got, want)


def check(line, row):
    v = load(line)
    f = [uncopy(x) for x in row.split("\t")]
    assert len(f) == 10, row
    def js(what, got, want):
        if want is None:
            return got is None or (what, got, want)
        return (got is not None and no_nulls(load(got)) == strip(want)) or (what, got, strip(want))
    one = path(v, "ps", ("one", False), "value", "s")
    num = v.get("num")
    checks = [
        js("whole", f[0], v), check_text("a", f[1], v.get("a")), js("ab", f[2], path(v, "a", "b")),
        check_text("odd", f[3], path(v, "o", "x.y")), check_text("item", f[4], path(v, "items", 0, "id")),
        js("third", f[5], path(v, "items", 2)),
        check_text("one", f[6], one if one is not None else path(v, "ps", ("one", False), "value", "i"), one is None),
        js("two", f[7], path(v, "ps", ("two", False), "value")),
        check_text("fold", f[8], path(v, "ps", ("Fold", True), "value", "s")),
    ]
    if isinstance(num, Num) and fits(num.s):
        checks.append((f[9] is not None and Decimal(f[9]) == Decimal(num.s)) or ("num", f[9], num.s))
    for c in checks:
        if c is not True:
            return c
    return None


def damage(r, line):
    b = bytearray(line.encode("utf-8", "surrogatepass"))
    for _ in range(r.randint(1, 3)):
        if not b:
            break
        at = r.randrange(len(b))
        k = r.random()
        if k < 0.3:
            del b[at]
        elif k < 0.6:
            b[at] = r.choice(b'{}[],:"\\ 01-+.eEtfnux\t\x01\x00')
        elif k < 0.8:
            b.insert(at, r.choice(b'{}[],:"\\ 01-+.eEtfnu\x00\x80\xff'))
        elif k < 0.9:
            del b[at:]
        else:
            b[at] = r.randrange(256)
    return bytes(b).replace(b"\n", b" ")


def valid(raw):
    """Python's verdict on a damaged line: the object, or None. UTF-8 and NUL are mended first, as the encoder does."""
    text = raw.decode("utf-8", "replace")
    text = text.replace("\0", "\ufffd")
    try:
        v = load(text)
    except (ValueError, RecursionError):
        return None, text
    return (v if isinstance(v, dict) else None), text


def run(program, plan, lines, rows=None):
    """What comes out of the lines; the file `rows`, if named, gets the rows as a COPY in binary format."""
    p = subprocess.run([program, plan] + ([rows] if rows else []), input=b"\n".join(lines) + b"\n", stdout=subprocess.PIPE, check=True)
    out = p.stdout.decode("utf-8").split("\n")
    return ([x[1:] for x in out if x.startswith("+")], [x[1:] for x in out if x.startswith("-")],
            next(x for x in out if x.startswith("=")))


def main():
    program = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    good = bad = 0
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as plan:
        plan.write(PLAN)
        plan.flush()
        for n in range(rounds):
            r = random.Random(seed * 1000003 + n)
            lines, wanted = [], []
            spoil = 0.0 if n % 2 == 0 else 0.3
            for _ in range(400):
                line = write(r, record(r), r.random() < 0.3)
                if r.random() < 0.05:
                    line = line.replace(":\"", ":\"\\ud800", 1) if ":\"" in line else line
                raw = damage(r, line) if r.random() < spoil else line.encode("utf-8")
                raw = raw.strip(b" \t\r")
                if not raw:
                    continue
                v, text = valid(raw)
                lines.append(raw)
                wanted.append((v, text))
            rows, rejects, counts = run(program, plan.name, lines)
            rejected = {int(x.split("@")[0]) for x in rejects}
            it = iter(rows)
            for i, (v, text) in enumerate(wanted):
                if (v is None) != (i + 1 in rejected):
                    why = [x for x in rejects if x.startswith("%d@" % (i + 1))]
                    sys.exit("round %d line %d: Python says %s, the encoder %s\n%r" %
                             (n, i + 1, "bad" if v is None else "good", why or "accepts", lines[i]))
                if v is None:
                    bad += 1
                    continue
                good += 1
                wrong = check(text, next(it))
                if wrong:
                    sys.exit("round %d line %d: %s\n  got  %r\n  want %r\n%r" % ((n, i + 1) + wrong + (lines[i],)))
            if next(it, None) is not None:
                sys.exit("round %d: more rows than lines; %s" % (n, counts))
    print("%d records agree, %d rejected by both" % (good, bad))


if __name__ == "__main__":
    main()
