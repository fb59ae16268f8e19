"""redis-py, as it is, against linger: in RESP2 and in RESP3.

Ports: LINGER_PORT; LINGER_QUICK_PORT, whose `linger` deadline is 100 ms; LINGER_IDLE_PORT, whose deadline is 100 ms too, with an
`idle_timeout` of 1 s; LINGER_USERS_PORT, whose users ops and dev have LINGER_USERS_PASSWORD.
"""

import json
import os
import sys
import time
import traceback

import redis

PORT = int(os.environ["LINGER_PORT"])
QUICK_PORT = int(os.environ["LINGER_QUICK_PORT"])
IDLE_PORT = int(os.environ["LINGER_IDLE_PORT"])
DEADLINE = 10


def client(protocol, port=PORT, **options):
    options.setdefault("socket_timeout", DEADLINE)
    return redis.Redis(host="127.0.0.1", port=port, protocol=protocol, decode_responses=True, **options)


def until(what, look):
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


def message(pubsub, kind=None):
    """The next message, of that kind if one is named."""
    return until(f"a message {kind or ''}", lambda: next_of(pubsub, kind))


def next_of(pubsub, kind):
    got = pubsub.get_message(timeout=0.2)
    return got if got and (kind is None or got["type"] == kind) else None


def refused(call, *words):
    try:
        call()
    except redis.ResponseError as error:
        assert all(word in str(error) for word in words), error
        return
    raise AssertionError(f"not refused: {words}")


# ---- Each one named by what it shows ------------------------------------------------------------------


def ping_and_echo(protocol):
    r = client(protocol)
    assert r.ping() is True
    assert r.echo("hello") == "hello"
    raw = redis.Redis(port=PORT, protocol=protocol)
    assert raw.echo(bytes(range(256)) * 100) == bytes(range(256)) * 100


def pipelines(protocol):
    r = client(protocol)
    with r.pipeline(transaction=False) as pipe:
        for i in range(2000):
            pipe.echo(str(i))
        assert pipe.execute() == [str(i) for i in range(2000)]


def an_error_in_a_pipeline_hurts_only_itself(protocol):
    r = client(protocol)
    with r.pipeline(transaction=False) as pipe:
        pipe.ping().execute_command("NONSENSE").ping()
        first, error, last = pipe.execute(raise_on_error=False)
    assert first is True and last is True
    assert isinstance(error, redis.ResponseError) and "understood are" in str(error)


def names_and_ids(protocol):
    r = client(protocol, client_name="at-connect")
    assert r.client_getname() == "at-connect"
    assert r.client_setname("later") is True
    assert r.client_getname() == "later"
    refused(lambda: r.client_setname("a b"), "cannot contain spaces")
    other = client(protocol)
    assert other.client_getname() is None
    assert r.client_id() != other.client_id()
    assert int(r.client_info()["id"]) == r.client_id()


def the_list_of_clients(protocol):
    r, other = client(protocol, client_name="lister"), client(protocol, client_name="listed")
    listed = {c["name"]: c for c in r.client_list()}.keys() | {"?"}
    assert "lister" in listed and "listed" not in listed, "nothing is connected before its first command"
    other.ping()
    entry = next(c for c in r.client_list() if c["name"] == "listed")
    assert entry["addr"].startswith("127.0.0.1:") and entry["resp"] == str(protocol)
    by_id = r.client_list(client_id=[str(other.client_id())])
    assert [c["name"] for c in by_id] == ["listed"]
    assert r.client_list(_type="replica") == []


def kill_and_reconnect(protocol):
    r, other = client(protocol, port=QUICK_PORT), client(protocol, port=QUICK_PORT, client_name="victim")
    before = other.client_id()
    assert r.client_kill_filter(_id=before) == 1
    # An end of file and no word before it, so that the library comes back by itself. What it says until then counts.
    until("a new connection", lambda: retried(other) not in (None, before))
    assert other.client_getname() == "victim"
    refused(lambda: r.client_kill("1.2.3.4:5"), "No such client")


def retried(r):
    try:
        return r.client_id()
    except redis.ConnectionError:
        return None


def subscriptions(protocol):
    r, p = client(protocol), client(protocol).pubsub()
    p.subscribe("news", "sport")
    p.psubscribe("n*")
    confirmations = [message(p) for _ in range(3)]
    assert [c["type"] for c in confirmations] == ["subscribe", "subscribe", "psubscribe"]
    assert [c["data"] for c in confirmations] == [1, 2, 3]
    assert r.publish("news", "hello") == 2
    got = [message(p), message(p)]
    assert {(g["type"], g["pattern"], g["channel"], g["data"]) for g in got} == {
        ("message", None, "news", "hello"),
        ("pmessage", "n*", "news", "hello"),
    }
    assert sorted(r.pubsub_channels("*")) == ["news", "sport"]
    assert r.pubsub_numsub("news", "none") == [("news", 1), ("none", 0)]
    assert r.pubsub_numpat() == 1
    if protocol == 2:
        # In RESP3 redis-py takes the answer for a message only if it does not decode it.
        p.ping("alive")
        assert message(p, "pong")["data"] == "alive"
    p.unsubscribe()
    p.punsubscribe()
    assert [message(p)["data"] for _ in range(3)] == [2, 1, 0]
    assert r.publish("news", "hello") == 0
    p.close()


def binary_messages(protocol):
    r = redis.Redis(port=PORT, protocol=protocol)
    p = r.pubsub(ignore_subscribe_messages=True)
    p.subscribe(b"\x00\xff")
    until("the subscription", lambda: r.publish(b"\x00\xff", bytes(range(256))) == 1)
    assert message(p)["data"] == bytes(range(256))
    p.close()


def a_thread_that_listens(protocol):
    r, got = client(protocol), []
    p = r.pubsub()
    p.subscribe(**{"thread": lambda m: got.append(m["data"])})
    thread = p.run_in_thread(sleep_time=0.01)
    until("the subscription", lambda: r.publish("thread", "1") == 1)
    until("the message", lambda: got == ["1"])
    thread.stop()
    thread.join()


def identities(protocol):
    r, dev = client(protocol), client(protocol, single_connection_client=True)
    assert r.execute_command("STATE", "py-1") == "offline"
    assert dev.execute_command("IDENT", "py-1", "BEAT", "30", "CHANNEL", "t0ken") == "OK"
    assert r.execute_command("WHO", "py-*") == ["py-1"]
    assert r.execute_command("STATE", "py-1") == "online"
    assert r.execute_command("SEND", "py-none", "x") == 0
    refused(lambda: dev.execute_command("IDENT", "a b"), "invalid identity")
    refused(lambda: dev.execute_command("IDENT", "py-1", "BEAT", "x"), "BEAT takes seconds")
    channel = client(protocol, single_connection_client=True)
    refused(lambda: channel.execute_command("BEATFOR", "py-1"), "not agreed")
    assert channel.execute_command("BEATFOR", "py-1", "t0ken") == "OK"
    channel.close()
    until("suspicion", lambda: r.execute_command("STATE", "py-1") == "suspect")
    dev.ping()
    until("revival", lambda: r.execute_command("STATE", "py-1") == "online")
    dev.close()
    until("the end", lambda: r.execute_command("STATE", "py-1") == "offline")


def a_subscriber_that_is_killed(protocol):
    r = client(protocol)
    p = client(protocol, client_name=f"listener{protocol}").pubsub()
    p.subscribe("killed")
    assert message(p)["type"] == "subscribe"
    listener = next(c for c in r.client_list() if c["name"] == f"listener{protocol}")
    assert r.client_kill_filter(_id=listener["id"]) == 1
    # It meets an end of file, comes back and subscribes again: no word of ours is in its way.
    until("a new subscription", lambda: retried_message(p))
    assert r.publish("killed", "x") == 1
    assert message(p, "message")["data"] == "x"
    p.close()


def retried_message(p):
    try:
        got = p.get_message(timeout=0.2)
    except redis.ConnectionError:
        return None
    return got and got["type"] == "subscribe"


def direct_messages(protocol):
    r, dev = client(protocol), client(protocol)
    p = dev.pubsub()
    p.subscribe("anything")
    assert message(p)["type"] == "subscribe"
    if protocol == 3:
        # In RESP2 a connection that listens may not identify itself any more.
        p.execute_command("IDENT", "py-direct")
        assert p.parse_response() == "OK"
        assert r.execute_command("SEND", "py-direct", "hello") == 1
        got = message(p, "message")
        assert (got["channel"], got["data"]) == ("$direct:py-direct", "hello")
    p.close()


def presence(protocol):
    r, dev = client(protocol), client(protocol, single_connection_client=True)
    p = r.pubsub()
    p.psubscribe("$presence:py-p*")
    assert message(p)["type"] == "psubscribe"
    dev.execute_command("IDENT", "py-p1")
    got = message(p, "pmessage")
    assert (got["channel"], got["data"]) == ("$presence:py-p1", "online")
    newer = client(protocol, single_connection_client=True)
    newer.execute_command("IDENT", "py-p1")
    word, _, record = message(p, "pmessage")["data"].partition(" ")
    assert word == "replaced" and json.loads(record)["by"]["identity"] == "py-p1", record
    assert message(p, "pmessage")["data"] == "online", "somebody else is py-p1 now"
    newer.execute_command("QUIT")
    newer.close()
    word, _, record = message(p, "pmessage")["data"].partition(" ")
    end = json.loads(record)
    assert word == "offline" and end["reason"] == "peer.goodbye" and end["close"] == "peer_first_after_goodbye", end
    refused(lambda: r.publish("$presence:py-p1", "online"), "$presence")
    p.close()
    dev.close()


def a_pool_after_the_server_ended_its_connection(protocol):
    r = client(protocol, port=IDLE_PORT)
    before = r.client_id()
    time.sleep(2.5)
    after = r.client_id()
    assert after != before


def a_listener_for_messages_is_not_idle_ended_while_used(protocol):
    r = client(protocol, port=IDLE_PORT)
    for _ in range(6):
        r.echo("x")
        time.sleep(0.3)
    ids = {r.client_id() for _ in range(3)}
    assert len(ids) == 1


def health_checks(protocol):
    r = client(protocol, health_check_interval=1)
    r.echo("x")
    time.sleep(1.2)
    assert r.echo("y") == "y"
    p = r.pubsub()
    p.subscribe("health")
    time.sleep(1.2)
    assert message(p)["type"] == "subscribe"
    assert r.publish("health", "x") == 1
    assert message(p, "message")["data"] == "x"
    p.close()


def what_a_library_asks_for(protocol):
    r = client(protocol)
    assert r.info()["linger_version"] and r.info("clients")["connected_clients"] >= 1
    assert r.info()["redis_version"] >= "7.2" and r.info("memory")["used_memory"] > 100_000
    assert r.command_count() > 10 and "subscribe" in r.command_list()
    assert r.command()["ping"]["arity"] == -1
    assert r.config_get("save") == {"save": ""}
    assert r.client_setinfo("LIB-NAME", "x") in (True, "OK")
    assert r.select(0) in (True, "OK")
    assert client(protocol, username="default", password="any").ping() is True
    try:
        client(protocol, username="nobody", password="any").ping()
    except redis.AuthenticationError:
        pass
    else:
        raise AssertionError("a user that there is not")


def users(protocol):
    port, password = int(os.environ["LINGER_USERS_PORT"]), os.environ["LINGER_USERS_PASSWORD"]
    ops = client(protocol, port, username="ops", password=password)
    assert ops.ping() is True and ops.acl_whoami() == "ops"
    assert ops.acl_users() == ["ops", "dev", "default"] and "connection" in ops.acl_cat()
    told = ops.acl_getuser("dev")
    assert told["flags"] == ["on"] and told["enabled"] and told["channels"] == ["&news.*"], told
    assert any(line.startswith("user ops on #") for line in ops.acl_list())
    assert "ops" in {row["user"] for row in ops.client_list()}
    dev = client(protocol, port, username="dev", password=password)
    p = dev.pubsub()
    p.subscribe("news.a")
    assert message(p)["type"] == "subscribe"
    assert ops.publish("news.a", "x") == 1 and message(p, "message")["data"] == "x"
    p.close()
    for refused in (lambda: dev.publish("other", "x"), dev.client_list):
        try:
            refused()
        except redis.exceptions.NoPermissionError:
            continue
        raise AssertionError("a user may not do that")
    for wrong in ({"username": "ops", "password": "wrong"}, {"username": "nobody", "password": password}, {}):
        try:
            client(protocol, port, **wrong).ping()
        except redis.AuthenticationError:
            continue
        raise AssertionError(f"{wrong} is nobody")


def quit_ends_it(protocol):
    r = client(protocol, single_connection_client=True)
    assert r.quit() in (True, "OK")
    r.close()


CASES = [value for name, value in list(globals().items())
         if callable(value) and getattr(value, "__code__", None) and value.__code__.co_varnames[:1] == ("protocol",)
         and name != "client"]


def main():
    passed = failed = 0
    for protocol in (2, 3):
        for case in CASES:
            name = f"{case.__name__.replace('_', ' ')}, RESP{protocol}"
            try:
                case(protocol)
                passed += 1
                print(f"ok {name}")
            except Exception:
                failed += 1
                print(f"FAIL {name}")
                print("    " + traceback.format_exc().replace("\n", "\n    "))
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
