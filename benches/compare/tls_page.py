"""What tls.py has measured, with the bar of each figure."""

from bars import Bars, Bulk, Limit, Ratio, measured
from tls import MESSAGE_BYTES, RATE

OTHERS = ["HAProxy", "nginx"]
BOTH = dict.fromkeys(OTHERS, 1)
BARS = Bars("tls", OTHERS, [
    Ratio("full", "CPU per life with a full handshake, µs", **BOTH),
    Ratio("resumed", "CPU per life that resumes a session, µs", **BOTH),
    Bulk("bulk 1", "bulk, 1 pair, GB per second of CPU", *OTHERS),
    Bulk("bulk 50", "bulk, 50 pairs, GB per second of CPU", *OTHERS),
    Ratio("round trip", "CPU per round trip of 64 bytes, 50 pairs, µs", **BOTH),
    Limit("idle pair", "user memory of an idle pair, bytes", 8_704),
    Limit("idle echo", "user memory of an idle echo connection, bytes", 8_192),
])
missed = BARS.missed


def section(data, _pictures=None):
    table = BARS.table(data)
    if table is None:
        return None
    return "\n\n".join([
        "## TLS: a gateway that takes it off",
        f"{measured(data, 'tls')} HAProxy and nginx have OpenSSL, linger has rustls with aws-lc-rs. All speak TLS 1.3 with one "
        "certificate (ECDSA on P-256) and relay to the same C echo server, which shares a cpu with the generator (`linger "
        "load`); the relay has the other, and its own CPU time is what is compared. Ratios are linger's figure divided by the "
        "other's, of CPU time also for bulk, within a round: less than 1 is better for linger. A bar on a ratio is missed where "
        "the middle half of five rounds or more misses it.",
        f"A *life* is connect, handshake, connect to the server behind, and the client closes, at {RATE} a second. *Bulk* is "
        f"messages of {MESSAGE_BYTES:,} bytes that come and go; both ways count. Idle memory: {data['tls_idle']:,} "
        "connections, each of which has had one exchange.",
        table,
    ])
