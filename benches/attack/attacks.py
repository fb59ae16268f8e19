"""The attacks, a function each: it sets up, says that it is ready, attacks until `target.until()`, and returns what is
worth telling. All of them are bounded in count and in time.

An attacker may be refused by an error, held up or ended: what counts is what others see of it. Each takes the largest
name or pattern that the server accepts."""

import contextlib
import pathlib
import socket
import subprocess
import time
from dataclasses import dataclass

from host import die_with_parent
from procs import Child
from wire import Client, Crowd, array, connect, largest, pump

NAME_SIZES = [65_000, 32_768, 16_384, 8192, 4096, 2048, 1024, 512, 256, 128]
PATTERN_SIZES = [60_000, *NAME_SIZES[1:]]


@dataclass(frozen=True)
class Target:
    """Where the server is, and for how long it is attacked."""

    port: int
    # Of the listener that lets in few of each source.
    limited: int
    admin: int
    seconds: float
    # The program that opens connections at a rate.
    arrivals: pathlib.Path
    # Of the connections that an attack alone has.
    share: float = 1

    def many(self, count):
        return int(count * self.share)

    def until(self):
        return time.monotonic() + self.seconds


def greeted(port):
    """A connection that has said something: who says nothing for long is ended for that."""
    client = Client(port)
    assert client.ask("PING") == b"PONG", "PING is not answered"
    return client


def crowd(target, count, hello):
    """A process that holds `count` connections and reads; it ends with the one that asks for it."""

    def read(link, port):
        people = Crowd(port, count, hello)
        link.ready()
        people.read_until(time.monotonic() + 120)

    child = Child(read, target.port)
    child.await_ready(60)
    child.go()


def stubborn(size, number):
    """A pattern of `size` bytes that matches nothing but costs as much as it can on a text of many a."""
    end = b"b%04d" % number
    return b"*" + b"a" * (size - 1 - len(end)) + end


def in_frames(verb, words, room=50_000):
    """As few commands as the bound of a frame allows."""
    frames, some, size = [], [], 0
    for word in words:
        if some and (size + len(word) + 16 > room or len(some) >= 2048):
            frames.append(array(verb, *some))
            some, size = [], 0
        some.append(word)
        size += len(word) + 16
    return [*frames, array(verb, *some)]


def subscribed(port, verb, words):
    """A connection with these subscriptions, all of them confirmed; nobody reads it from then on."""
    client = Client(port)
    for frame in in_frames(verb, words):
        client.send(frame)
    for _ in words:
        confirmation = client.reply()
        assert not isinstance(confirmation, Exception), confirmation
    return client


def named(port, names):
    """Connections that hold channels with these names, no more of them each than it may."""
    return [subscribed(port, "SUBSCRIBE", names[at:at + 1000]) for at in range(0, len(names), 1000)]


def ask_until(until, port, *commands):
    """One client that asks these in turn, with each answer waited for. How many were answered, and refused."""
    client, answers, refusals = Client(port), 0, 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        while (left := until - time.monotonic()) > 0:
            client.socket.settimeout(left)
            refusals += isinstance(client.ask(*commands[answers % len(commands)]), Exception)
            answers += 1
    return answers, refusals


# ---- Publishing ----------------------------------------------------------------------------------------------


def flood(link, target):
    """20 subscribers that read, one client that streams PUBLISH without waiting for replies"""
    crowd(target, 20, lambda _: array("SUBSCRIBE", "x"))
    publisher = greeted(target.port).socket
    link.ready()
    times = pump(publisher, array("PUBLISH", "x", "y") * 500, target.until())
    return {"told": f"{500 * times:,} published"}


def globs(link, target, count):
    size = largest(target.port, [512, 256, 128], lambda size: ("PSUBSCRIBE", stubborn(size, 0)))
    name = largest(target.port, NAME_SIZES, lambda size: ("PUBLISH", b"a" * size, "y"))
    link.hold(subscribed(target.port, "PSUBSCRIBE", [stubborn(size, number) for number in range(count)]))
    link.ready()
    # The longest name that is accepted, and one that may be refused.
    names = [b"a" * name, b"a" * NAME_SIZES[0]]
    answers, refusals = ask_until(target.until(), target.port, *(("PUBLISH", text, "y") for text in names))
    return {"told": f"patterns of {size} B, names of {name:,} B: {answers:,} answered, {refusals:,} refused"}


def glob64(link, target):
    """64 patterns, PUBLISH to the longest names"""
    return globs(link, target, 64)


def glob1024(link, target):
    """1,024 patterns, PUBLISH to the longest names"""
    return globs(link, target, 1024)


def expand(link, target):
    """30 clients with 1,024 matching patterns each, PUBLISH of 60 KB"""
    wild = [b"".join(b"?" if number >> bit & 1 else b"a" for bit in range(10)) for number in range(1024)]
    subscribe = array("PSUBSCRIBE", *wild)
    publisher = greeted(target.port)
    link.ready()
    until, published = target.until(), 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        while (left := until - time.monotonic()) > 0:
            # Again and again, for they may be ended for what they do not read in time.
            people = Crowd(target.port, 30, lambda _: subscribe)
            publisher.socket.settimeout(left)
            publisher.ask("PUBLISH", b"a" * 10, b"z" * 60_000)
            published += 1
            people.read_until(min(until, time.monotonic() + 0.5))
            people.close()
    return {"told": f"{published} published"}


def unread(link, target):
    """200 messages of 32 KB to 1,000 subscribers that do not read"""
    # Little room in the kernel, or most of it would wait there.
    link.hold(Crowd(target.port, target.many(1000), lambda _: array("SUBSCRIBE", "mute"), room=4096))
    publisher = greeted(target.port).socket
    link.ready()
    until = target.until()
    times = pump(publisher, array("PUBLISH", "mute", b"z" * 32_768), until, 200)
    return {"told": f"{times} published"}


# ---- Presence ------------------------------------------------------------------------------------------------


def presence(link, target):
    """4,000 readers of $presence:*, one client pipelines 5,000 IDENT, again and again"""
    for _ in range(2):
        crowd(target, target.many(2000), lambda _: array("PSUBSCRIBE", "$presence:*"))
    many = greeted(target.port).socket
    link.ready()
    idents = b"".join(array("IDENT", f"many{number}") for number in range(5000))
    return {"told": f"{5000 * pump(many, idents, target.until()):,} sent"}


def silent(link, target):
    """one silent client with 1,024 patterns of 512 B on presence while 1,500 devices come and go"""
    size = largest(target.port, [512, 256, 128], lambda size: ("PSUBSCRIBE", b"$presence:" + stubborn(size - 10, 0)))
    patterns = [b"$presence:" + stubborn(size - 10, number) for number in range(1024)]
    link.hold(subscribed(target.port, "PSUBSCRIBE", patterns))
    link.ready()
    until, came = target.until(), 0
    # Together 1,500 each time, some of them gone before they were answered.
    while time.monotonic() < until:
        devices = []
        for number in range(target.many(1500)):
            device = connect(target.port)
            device.sendall(array("IDENT", b"a" * 120 + b"%06d" % number))
            devices.append(device)
            came += 1
            if time.monotonic() > until:
                break
        for device in devices:
            device.close()
    return {"told": f"{came:,} came, patterns of {size} B"}


# ---- Lists ---------------------------------------------------------------------------------------------------


def search(link, target):
    """WHO and PUBSUB CHANNELS with the longest patterns"""
    name = largest(target.port, NAME_SIZES, lambda size: ("SUBSCRIBE", b"a" * size))
    size = largest(target.port, PATTERN_SIZES, lambda size: ("WHO", stubborn(size, 0)))
    link.hold(Crowd(target.port, target.many(2000), lambda number: array("IDENT", b"a" * 120 + b"%06d" % number)))
    link.hold(named(target.port, [b"a" * (name - 6) + b"%06d" % number for number in range(10_000)]))
    link.ready()
    patterns = [stubborn(of, 0) for of in (size, PATTERN_SIZES[0])] + [b"*a" * (size // 2 - 1) + b"b"]
    asked = [ask for pattern in patterns for ask in (("WHO", pattern), ("PUBSUB", "CHANNELS", pattern))]
    answers, refusals = ask_until(target.until(), target.port, *asked)
    return {"told": f"names of {name:,} B, patterns of {size:,} B: {answers:,} answered, {refusals:,} refused"}


def channels(link, target):
    """PUBSUB CHANNELS with 8 MB of names; its asker is healthy"""
    size = largest(target.port, NAME_SIZES[5:], lambda size: ("SUBSCRIBE", b"n" * size))
    names = [b"n" * (size - 8) + b"%08d" % number for number in range(8_000_000 // size)]
    link.hold(named(target.port, names))
    asker = greeted(target.port)
    link.ready()
    until, lists, refusals, endings = target.until(), 0, 0, []
    try:
        while (left := until - time.monotonic()) > 0:
            asker.socket.settimeout(left)
            found = asker.ask("PUBSUB", "CHANNELS", "n*")
            if isinstance(found, Exception):
                refusals += 1
            else:
                assert len(found) == len(names), f"{len(found)} of {len(names)} channels"
                lists += 1
    except TimeoutError:
        pass
    except ConnectionError:
        endings.append("who asked for PUBSUB CHANNELS was ended")
    return {"told": f"names of {size:,} B: {lists} lists, {refusals} refused", "endings": endings}


def client_list(link, target):
    """8,000 clients, 100 of them pipeline CLIENT LIST"""
    for _ in range(2):
        crowd(target, target.many(3950), lambda _: array("PING"))
    askers = link.hold(Crowd(target.port, 100, lambda _: array("PING")))
    link.ready()
    askers.send_all(array("CLIENT", "LIST") * 200)
    askers.read_until(target.until())
    return {"told": f"{askers.bytes / 1e6:,.0f} MB of rows"}


def list_ids(link, target):
    """CLIENT LIST ID with 5,200 ids, 20 pipelined, of 5,200 clients and of none"""
    people = link.hold([greeted(target.port) for _ in range(target.many(5200))])
    ids = [one.ask("CLIENT", "ID") for one in people]
    asker = greeted(target.port).socket
    link.ready()
    asked = [array("CLIENT", "LIST", "ID", *some) for some in (ids, [99_999 - one for one in ids])]
    times = pump(asker, b"".join(asked) * 10, target.until())
    return {"told": f"{20 * times} asked"}


def admin_head(link, target):
    """one admin connection pipelines HEAD /connections, of 5,000"""
    crowd(target, target.many(5000), lambda _: array("PING"))
    link.ready()
    times = pump(connect(target.admin), b"HEAD /connections HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100, target.until())
    return {"told": f"{100 * times} asked"}


def admin_six(link, target):
    """six admin clients ask for /connections, of 5,000, back to back"""
    crowd(target, target.many(5000), lambda _: array("PING"))
    askers = [Child(ask_admin, target) for _ in range(6)]
    for asker in askers:
        asker.await_ready(10)
    link.ready()
    for asker in askers:
        asker.go()
    told = [asker.result(target.seconds + 10) or {"pages": 0} for asker in askers]
    return {"told": f"{sum(one['pages'] for one in told)} pages"}


def ask_admin(link, target):
    link.ready()
    until, pages = target.until(), 0
    while (left := until - time.monotonic()) > 0:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", target.admin), left) as client:
            client.sendall(b"GET /connections HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            while client.recv(1 << 18):
                if time.monotonic() > until:
                    return {"pages": pages}
            pages += 1
    return {"pages": pages}


# ---- A crowd -------------------------------------------------------------------------------------------------

ONE_SOURCE = "127.0.0.2"
ARRIVALS_A_SECOND = 30_000
AT_ONCE = 200


def source(link, target):
    """one source opens 30,000 connections a second, at a listener that lets in few of it"""
    link.ready()
    command = [target.arrivals, ONE_SOURCE, target.limited, ARRIVALS_A_SECOND, target.seconds, AT_ONCE]
    done = subprocess.run(list(map(str, command)), preexec_fn=die_with_parent, capture_output=True, text=True, check=True)
    return {"told": f"{int(done.stdout) / target.seconds:,.0f} connections a second"}


# Who holds patterns comes last, or would be asked of all that the others set up; presence at the very end.
SET_UP_LAST = ["glob-64", "glob-1024", "silent", "presence"]
# By the names that the command line takes, in the order of the report.
ATTACKS = {
    "flood": flood,
    "glob-64": glob64,
    "glob-1024": glob1024,
    "search": search,
    "silent": silent,
    "expand": expand,
    "presence": presence,
    "client-list": client_list,
    "list-ids": list_ids,
    "admin-head": admin_head,
    "admin-six": admin_six,
    "unread": unread,
    "channels": channels,
    "source": source,
}
