"""Processes of our own that play a part: each is forked, told when to begin, and ends by itself, at the latest with its
parent. What it found comes back as JSON."""

import json
import os
import select
import signal
import sys
import time
import traceback

from host import LIBC, PR_SET_PDEATHSIG, Failed, prefer

# Nothing here runs for longer, whatever happens.
LIFE_SECONDS_MAX = 180


def say(text):
    print(f"attack: {text}", file=sys.stderr, flush=True)


def run_at_once():
    """For who hardly runs, and must not wait when it does."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except PermissionError:
        prefer(0)


class Link:
    """A child's line to its parent."""

    def __init__(self, up, down):
        self.up, self.down, self.held = up, down, []

    def hold(self, what):
        """Keeps it for as long as this process lives: connections stay open when the attack is over."""
        self.held.append(what)
        return what

    def ready(self):
        """Tells that all is set up, and waits for the beginning."""
        os.write(self.up, b"ready\n")
        os.read(self.down, 1)

    def stopped(self):
        """Whether the parent wants the result now."""
        return bool(select.select([self.down], [], [], 0)[0])


class Child:
    """A function that runs in a process of its own: function(link, *arguments), whose result is a dict."""

    def __init__(self, function, *arguments, cpu=None, settle=None):
        up_read, up_write = os.pipe()
        down_read, down_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(up_read)
            os.close(down_write)
            self._play(function, arguments, Link(up_write, down_read), cpu, settle)
        os.close(up_write)
        os.close(down_read)
        self.up, self.down, self.heard, self.over = up_read, down_write, b"", False

    @staticmethod
    def _play(function, arguments, link, cpu, settle):
        status = 1
        try:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM:
                signal.signal(number, signal.SIG_DFL)
            signal.alarm(LIFE_SECONDS_MAX)
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            if settle:
                settle()
            result = function(link, *arguments) or {}
            os.write(link.up, json.dumps(result).encode() + b"\n")
            status = 0
        except (KeyboardInterrupt, BrokenPipeError):
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def line(self, seconds):
        """The next line that it says; none if it says nothing for so long."""
        until = time.monotonic() + seconds
        while b"\n" not in self.heard:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.up], [], [], left)[0]:
                return None
            piece = os.read(self.up, 65536)
            if not piece:
                raise Failed("one of our own processes has failed")
            self.heard += piece
        line, _, self.heard = self.heard.partition(b"\n")
        return line

    def await_ready(self, seconds):
        if self.line(seconds) != b"ready":
            raise Failed("it could not be set up")

    def go(self):
        os.write(self.down, b"g")

    def result(self, seconds):
        line = self.line(seconds)
        return json.loads(line) if line else None

    def stop(self):
        if not self.over:
            self.over = True
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.up)
            os.close(self.down)
