"""The same bytes to linger and to a real redis-server, and the replies compared with each other.

Where the two should agree the replies must be equal; where linger says more, or other numbers, a case names
what is compared instead. Nothing but the standard library. Ports: LINGER_QUICK_PORT (a
listener whose `linger` deadline is short: what it ends is waited for here), REDIS_PORT.
"""

import os
import re
import socket
import sys

SENTINEL = b"the-end-of-this-case"
TIMEOUT = 5


class Error(str):
    """An error reply."""


class Map(tuple):
    """A map of RESP3: pairs, in order."""


class Push(tuple):
    """A push of RESP3."""


class Set(tuple):
    """A set of RESP3."""


class Simple(str):
    """A simple string."""


END = Simple("(connection ended)")
RESET = Simple("(connection reset)")


class Conn:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self.buffer = b""

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.fill()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def reply(self):
        line = self.line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return Simple(rest.decode())
        if kind == b"-":
            return Error(rest.decode("utf-8", "backslashreplace"))
        if kind == b":":
            return int(rest)
        if kind == b"_":
            return None
        if kind == b"#":
            return rest == b"t"
        if kind == b",":
            return float(rest)
        if kind in (b"$", b"="):
            size = int(rest)
            if size < 0:
                return None
            while len(self.buffer) < size + 2:
                self.fill()
            data, self.buffer = self.buffer[:size], self.buffer[size + 2 :]
            return data
        if kind in (b"*", b"~", b">"):
            if int(rest) < 0:
                return None
            items = [self.reply() for _ in range(int(rest))]
            return {b"*": list, b"~": Set, b">": Push}[kind](items)
        if kind == b"%":
            return Map((self.reply(), self.reply()) for _ in range(int(rest)))
        raise ValueError(f"no RESP: {line!r}")


def sentinel(reply):
    return reply == SENTINEL or (isinstance(reply, (list, Push)) and reply and reply[-1] == SENTINEL)


def run(port, script, unfinished):
    """All replies to `script` on a connection of its own, up to the sentinel or the end. After an
    `unfinished` script there is no sentinel: the server must give up by itself."""
    conn = Conn(port)
    replies = []
    try:
        # A server that ends the connection early may refuse what comes after.
        conn.sock.sendall(script if unfinished else script + b"PING " + SENTINEL + b"\r\n")
        while True:
            reply = conn.reply()
            if sentinel(reply):
                break
            replies.append(reply)
    except EOFError:
        replies.append(END)
    except (ConnectionResetError, BrokenPipeError):
        replies.append(RESET)
    except socket.timeout:
        replies.append(Simple("(nothing more)"))
    conn.sock.close()
    return replies


def array(*words):
    words = [w if isinstance(w, bytes) else w.encode() for w in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


# ---- What is compared ---------------------------------------------------------------------------------


def same(replies):
    return replies


def ended(replies):
    """A reset and an end of file are both an end: Redis closes with input unread, and so resets."""
    return [END if r in (END, RESET) else r for r in replies]


def codes(replies):
    """Of errors only the code (ERR, NOPROTO, ...): the words differ where linger says more."""
    return [Error(r.split(" ")[0]) if isinstance(r, Error) else r for r in ended(replies)]


def beginnings(replies):
    """Of errors what comes before a list that is the server's own."""
    return [
        Error(re.split(r"; understood|: only \(P|'\. ", r)[0].rstrip()) if isinstance(r, Error) else r for r in replies
    ]


def shape(value):
    """Types, and the keys of maps."""
    if isinstance(value, Map):
        return Map((k, shape(v)) for k, v in value)
    if isinstance(value, (list, Push, Set)):
        return type(value)(shape(v) for v in value)
    return type(value).__name__


def first_words(replies):
    """Of an entry of COMMAND INFO: the name, the arity, and the types of the rest."""
    return [[[entry[:2] + [type(v).__name__ for v in entry[2:]] for entry in reply] for reply in replies]]


def shapes(replies):
    return [shape(r) for r in replies]


def hello(replies):
    """RESP2 gives the map of HELLO as an array: keys, and the type of each value."""
    def one(reply):
        if isinstance(reply, list):
            return [key if i % 2 == 0 else type(key).__name__ for i, key in enumerate(reply)]
        return shape(reply)
    return [one(r) for r in replies]


def fields(replies):
    """Of CLIENT LIST and INFO: the names of the fields that clients read."""
    def one(reply):
        names = set(re.findall(rb"([a-z-]+)=", reply))
        return sorted(names & {b"id", b"addr", b"laddr", b"multi", b"name", b"qbuf-free", b"argv-mem",
                               b"obl", b"oll", b"omem", b"tot-mem", b"age", b"idle", b"flags", b"db", b"sub",
                               b"psub", b"qbuf", b"user", b"resp"})
    return [one(r) if isinstance(r, bytes) else r for r in replies]


CASES = [
    # The plain ones.
    ("ping", same, b"PING\r\n" + array("PING") + array("ping", "hello") + array("PiNg", b"\x00\xff\r\n")),
    ("echo", same, array("ECHO", "") + array("ECHO", b"\r\n\x00") + b"ECHO abc\r\n" + b"eChO abc\n"),
    ("quit", ended, array("QUIT")),
    ("quit, and what comes after it", ended, array("PING") + array("QUIT") + array("PING")),
    ("quit with arguments", ended, array("QUIT", "now")),
    ("select", same, array("SELECT", "0") + array("SELECT", "x") + array("SELECT", "-1") + array("SELECT")),
    ("auth", same, array("AUTH", "x") + array("AUTH", "default", "x") + array("AUTH", "nobody", "x")
     + array("AUTH") + array("AUTH", "a", "b", "c")),
    ("reset", same, array("RESET") + array("PING") + array("RESET", "x")),
    # The version.
    ("hello", hello, array("HELLO") + array("HELLO", "2") + array("HELLO", "3") + array("HELLO")),
    ("hello 3 and back", hello, array("HELLO", "3") + array("CLIENT", "GETNAME") + array("HELLO", "2")
     + array("CLIENT", "GETNAME")),
    ("hello 3 then reset", codes, array("HELLO", "3", "SETNAME", "x")[:0] + array("CLIENT", "SETNAME", "x")
     + array("RESET") + array("CLIENT", "GETNAME")),
    ("hello, refused", same, array("HELLO", "1") + array("HELLO", "4") + array("HELLO", "x") + array("HELLO", "")
     + array("HELLO", "3", "SETNAME") + array("HELLO", "3", "AUTH", "x") + array("HELLO", "2", "NONSENSE")
     + array("HELLO", "3", "AUTH", "nobody", "x") + array("CLIENT", "GETNAME")),
    ("hello auth setname", hello, array("HELLO", "3", "AUTH", "default", "x", "SETNAME", "me")
     + array("CLIENT", "GETNAME")),
    ("hello setname, refused", same, array("HELLO", "3", "SETNAME", "a b") + array("CLIENT", "GETNAME")),
    # Names and ids.
    ("client getname", same, array("CLIENT", "GETNAME") + array("CLIENT", "SETNAME", "me")
     + array("CLIENT", "GETNAME") + array("CLIENT", "SETNAME", "") + array("CLIENT", "GETNAME")),
    ("client getname in RESP3", hello, array("HELLO", "3") + array("CLIENT", "GETNAME")),
    ("client setname, refused", same, array("CLIENT", "SETNAME", "a b") + array("CLIENT", "SETNAME", "a\nb")
     + array("CLIENT", "SETNAME") + array("CLIENT", "SETNAME", "a", "b") + array("CLIENT", "GETNAME", "x")
     + array("CLIENT", "ID", "x")),
    ("client id", shapes, array("CLIENT", "ID")),
    ("client list", fields, array("CLIENT", "LIST", "TYPE", "pubsub") + array("CLIENT", "INFO")),
    ("client list, refused", same, array("CLIENT", "LIST", "TYPE", "x") + array("CLIENT", "LIST", "x")
     + array("CLIENT", "LIST", "ID", "x") + array("CLIENT", "LIST", "ID")),
    ("client kill nobody", same, array("CLIENT", "KILL", "1.2.3.4:5") + array("CLIENT", "KILL", "ID", "999999999")
     + array("CLIENT", "KILL", "ADDR", "1.2.3.4:5") + array("CLIENT", "KILL", "TYPE", "replica")),
    ("client kill, refused", same, array("CLIENT", "KILL") + array("CLIENT", "KILL", "ID", "x")
     + array("CLIENT", "KILL", "TYPE", "x") + array("CLIENT", "KILL", "SKIPME", "x")
     + array("CLIENT", "KILL", "USER", "nobody") + array("CLIENT", "KILL", "ID", "0")),
    ("client no-evict", same, array("CLIENT", "NO-EVICT", "ON") + array("CLIENT", "NO-EVICT", "x")
     + array("CLIENT", "NO-EVICT")),
    ("client tracking off", same, array("CLIENT", "TRACKING", "OFF") + array("CLIENT", "TRACKING", "x")),
    ("client reply on", same, array("CLIENT", "REPLY", "ON") + array("CLIENT", "REPLY", "x")),
    ("client without and with unknown subcommand", beginnings, array("CLIENT") + array("CLIENT", "NONSENSE")
     + array("CLIENT", "NONSENSE", "x")),
    ("config get", same, array("CONFIG", "GET", "save", "nonsense")[:0] + array("CONFIG", "GET", "appendonly")
     + array("CONFIG", "GET", "nonsense") + array("CONFIG", "GET") + array("CONFIG")),
    ("command", same, array("COMMAND", "INFO", "nonsense") + array("COMMAND", "COUNT", "x")
     + array("COMMAND", "LIST", "x") + array("COMMAND", "DOCS", "nonsense")),
    ("command info", first_words, array("COMMAND", "INFO", "ping")),
    ("command count", shapes, array("COMMAND", "COUNT")),
    # Unknown, and wrong in number.
    ("unknown command", beginnings, array("NONSENSE") + array("nonsense", "a", "b") + b"nonsense a\r\n" + array("")),
    ("very long unknown command", codes, array("x" * 1000, "y" * 1000)),
    ("unknown command, very long line", codes, b"x" * 5000 + b"\r\n"),
    ("wrong number of arguments", same, array("ECHO") + array("ECHO", "a", "b") + array("PING", "a", "b")
     + array("SUBSCRIBE") + array("PSUBSCRIBE") + array("PUBLISH", "a") + array("PUBLISH", "a", "b", "c")
     + array("PUBSUB") + array("PUBSUB", "NUMPAT", "x")),
    ("pubsub channels, wrong number", codes, array("PUBSUB", "CHANNELS", "a", "b")),
    ("pubsub unknown subcommand", beginnings, array("PUBSUB", "NONSENSE")),
    # Publish and subscribe.
    ("subscribe", same, array("SUBSCRIBE", "a", "b", "a") + array("UNSUBSCRIBE", "b", "c") + array("UNSUBSCRIBE")),
    ("subscribe in RESP3", hello, array("HELLO", "3") + array("SUBSCRIBE", "a", "b") + array("UNSUBSCRIBE", "b")),
    ("confirmations in RESP3", lambda r: r[1:], array("HELLO", "3") + array("SUBSCRIBE", "a", "b", "a")
     + array("PSUBSCRIBE", "x*") + array("PING") + array("ECHO", "x") + array("UNSUBSCRIBE", "b", "c")
     + array("PUNSUBSCRIBE") + array("UNSUBSCRIBE") + array("UNSUBSCRIBE")),
    ("psubscribe", same, array("PSUBSCRIBE", "a*", "b?") + array("PUNSUBSCRIBE", "b?") + array("PUNSUBSCRIBE")),
    ("both", same, array("SUBSCRIBE", "a") + array("PSUBSCRIBE", "a*") + array("UNSUBSCRIBE")
     + array("PUNSUBSCRIBE")),
    ("unsubscribe from nothing", same, array("UNSUBSCRIBE") + array("PUNSUBSCRIBE") + array("UNSUBSCRIBE", "x")
     + array("PUNSUBSCRIBE", "x", "y")),
    ("ping while subscribed", same, array("SUBSCRIBE", "a") + array("PING") + array("PING", "x")
     + array("UNSUBSCRIBE") + array("PING")),
    ("others while subscribed", beginnings, array("SUBSCRIBE", "a") + array("ECHO", "x") + array("PUBLISH", "a", "x")
     + array("COMMAND")),
    ("wrong arity while subscribed", same, array("SUBSCRIBE", "a") + array("ECHO")),
    ("unknown command while subscribed", beginnings, array("SUBSCRIBE", "a") + array("NONSENSE")),
    ("reset while subscribed", same, array("SUBSCRIBE", "a") + array("RESET") + array("PING")),
    ("quit while subscribed", ended, array("SUBSCRIBE", "a") + array("QUIT")),
    ("publish to nobody", same, array("PUBLISH", "a", "x") + array("PUBSUB", "CHANNELS")
     + array("PUBSUB", "NUMSUB", "a", "b") + array("PUBSUB", "NUMSUB") + array("PUBSUB", "NUMPAT")),
    ("pubsub in RESP3", lambda r: r[1:], array("HELLO", "3") + array("SUBSCRIBE", "a", "b")
     + array("PSUBSCRIBE", "x*") + array("PUBSUB", "NUMSUB", "a", "c") + array("PUBSUB", "NUMPAT")
     + array("PUBSUB", "CHANNELS", "a*")),
    # Inline commands, and their quoting.
    ("inline quoting", same, b'ECHO "a b"\r\nECHO \'a b\'\r\nECHO "\\x41\\n\\t\\"\\\\"\r\nECHO \'a\\\'b\\n\'\r\n'
     b'ECHO ""\r\nECHO \'\'\r\nECHO a"b"\r\n  ECHO   x  \r\n"ECHO" y\r\n'),
    ("inline, odd bytes", same, b"ECHO \xff\xfe\r\nECHO a\x0bb\r\nECHO a\tb\r\n"),
    ("inline, escapes that are none", same, b'ECHO "\\xzz\\q"\r\nECHO "\\x4"\r\n'),
    ("inline, a zero byte", ended, b"ECHO a\x00b\r\n"),
    ("inline, empty lines", same, b"\r\n\n\r\n   \r\nPING\r\n"),
    ("inline, carriage returns", same, b"PING\r\r\nECHO a\rb\r\n"),
    ("inline, unbalanced", ended, b'ECHO "a\r\n'),
    ("inline, unbalanced single", ended, b"ECHO 'a\r\n"),
    ("inline, text after quotes", ended, b'ECHO "a"b\r\n'),
    ("inline, too long", ended, b"x" * 66000),
    ("inline, and arrays between", same, b"PING\r\n" + array("PING") + b"PING\r\n"),
    # Protocol errors.
    ("empty arrays", same, b"*0\r\n*-1\r\n*-10\r\n" + array("PING")),
    ("count no number", ended, b"*abc\r\n"),
    ("count empty", ended, b"*\r\n"),
    ("count signed", ended, b"*+1\r\n$4\r\nPING\r\n"),
    ("count with a leading zero", ended, b"*01\r\n$4\r\nPING\r\n"),
    ("count too large", ended, b"*2147483648\r\n"),
    ("count endless", ended, b"*" + b"1" * 66000),
    ("no dollar", ended, b"*1\r\n:1\r\n"),
    ("no dollar, unprintable", ended, b"*1\r\n\x01\r\n"),
    ("length no number", ended, b"*1\r\n$abc\r\n"),
    ("length empty", ended, b"*1\r\n$\r\n"),
    ("length negative", ended, b"*1\r\n$-1\r\n"),
    ("length too large", ended, b"*1\r\n$1000000000000\r\n"),
    ("length endless", ended, b"*1\r\n$" + b"1" * 66000),
    ("replies before the error", ended, array("PING") + array("ECHO", "x") + b"*1\r\n:1\r\n"),
    ("post", ended, b"POST / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("host", ended, b"Host: x\r\n\r\n"),
    # Split and pipelined.
    ("pipeline", same, array("PING") * 1000 + array("ECHO", "x" * 10000) * 5),
]

# Where linger says otherwise on purpose: what Redis answers, what linger answers, and why.
EXCEPTIONS = {
    "inline, a zero byte": ([b"a\x00b"], "Redis takes a zero byte for the end of all lines, linger for a byte"),
    "no dollar, unprintable": (
        [Error("ERR Protocol error: expected '$', got ' '"), END],
        "linger puts no control characters into its replies",
    ),
    "post": ([Error("ERR Protocol error: HTTP is not spoken here"), END], "Redis ends it without a word"),
    "host": ([Error("ERR Protocol error: HTTP is not spoken here"), END], "Redis ends it without a word"),
}

# Scripts whose last command never ends.
UNFINISHED = {"inline, too long", "count endless", "length endless"}


def main():
    linger, redis = int(os.environ["LINGER_QUICK_PORT"]), int(os.environ["REDIS_PORT"])
    only = sys.argv[1:]
    passed = failed = 0
    for name, view, script in CASES:
        if only and name not in only:
            continue
        unfinished = name in UNFINISHED
        theirs, ours = run(redis, script, unfinished), run(linger, script, unfinished)
        if name in EXCEPTIONS:
            expected, why = EXCEPTIONS[name]
            agree = ours == expected and view(theirs) != view(ours)
            print(f"{'ok' if agree else 'FAIL'} {name} (differs: {why})")
        else:
            agree = view(theirs) == view(ours)
            print(f"{'ok' if agree else 'FAIL'} {name}")
        if not agree:
            print(f"    redis:  {theirs!r:.1500}\n    linger: {ours!r:.1500}")
        passed, failed = passed + agree, failed + (not agree)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
