//! Heartbeats that work against the timers of the kernel: hints, each where it is true, and none beside it.

use super::*;

/// The hints at a listener of the protocol `resp` with these settings.
fn hints(text: &str) -> Vec<String> {
    let listener = "[[listener]]\nprotocol = 'resp'\naddress = '127.0.0.1:7000'\n";
    let effective = resolve_text(&Sources::default(), Some(("f", &format!("{listener}{text}"))), no_files);
    let effective = effective.unwrap_or_else(|mistakes| panic!("{text}: {mistakes:#?}"));
    effective.hints.iter().map(ToString::to_string).collect()
}

/// The only hint, without its place.
fn hint(text: &str) -> String {
    let all = hints(text);
    assert_eq!(all.len(), 1, "{text}: {all:#?}");
    all[0].split_once(": ").expect("a place").1.to_owned()
}

#[test]
fn pings_as_frequent_as_retransmissions_are_a_hint() {
    let style = "heartbeat.style = 'server'\nheartbeat.timeout = '30s'\n";
    let frequent = hint(&format!("{style}heartbeat.interval = '200ms'"));
    assert_eq!(
        frequent,
        "heartbeat.interval of listener resp: \"200ms\" is near TCP's retransmission time-out, 200ms to 1s; nearly every \
         outage meets a ping in flight, and ends the connection when it lasts for user_timeout, \"89s\", where a quiet one \
         may live on (linger lab --quick --case outage shows it); write \"10s\" or more, for frequent pings find nothing sooner"
    );
    let unbounded = format!("{style}heartbeat.interval = '999ms'\nuser_timeout = 'off'");
    assert!(hint(&unbounded).contains("the kernel's limit of retransmissions"));
    // "auto" is half of the timeout.
    assert!(hint("heartbeat = 'both:1s'").contains("\"500ms\" is near"));
    for fine in [
        format!("{style}heartbeat.interval = '1s'"),
        // Nobody pings.
        "heartbeat.style = 'client'\nheartbeat.timeout = '30s'\nheartbeat.interval = '200ms'".to_owned(),
        "heartbeat = '1s'".to_owned(),
    ] {
        assert_eq!(hints(&fine), [""; 0], "{fine}");
    }
}

#[test]
fn a_verdict_that_nobody_comes_to_is_a_hint() {
    assert_eq!(
        hint("heartbeat.verdict = 'report'"),
        "heartbeat.verdict of listener resp: no heartbeat is asked for, so there is no verdict; write heartbeat = \"30s\" as \
         well; only a client with a contract or a heartbeat channel of its own is judged"
    );
    assert_eq!(hints("heartbeat.style = 'client'\nheartbeat.verdict = 'report'"), [""; 0]);
    assert_eq!(hints("heartbeat.verdict = 'end'"), [""; 0]);
}

#[test]
fn a_grace_that_the_kernel_does_not_wait_for_is_a_hint() {
    let client = "heartbeat.style = 'client'\nheartbeat.timeout = '30s'\n";
    // By default: the first probe with the suspicion, at 30 s, then each 10 s until 89 s are over.
    assert_eq!(
        hint(&format!("{client}heartbeat.grace = '2m'")),
        "heartbeat.grace of listener resp: it is over after \"150s\" of silence, and the kernel gives up a client that cannot \
         be reached after about \"90s\" (linger lab --quick --case outage shows it); only a program that hangs has all of it; raise keepalive.count, or shorten the grace"
    );
    let keepalive = "keepalive = { idle = '10s', interval = '10s', count = 3 }\n";
    for (settings, verdict, longer) in [
        // Probes are counted where there is no user timeout.
        (format!("{client}{keepalive}user_timeout = 'off'\nheartbeat.grace = '11s'"), "\"40s\"", "raise keepalive.count,"),
        (format!("{client}{keepalive}user_timeout = '35s'\nheartbeat.grace = '11s'"), "\"40s\"", "count and user_timeout,"),
        // One ping, after 10 s: keepalive rests from then on.
        ("heartbeat.style = 'server'\nheartbeat.timeout = '20s'\nheartbeat.grace = '70s'\nkeepalive.enabled = false\n\
          user_timeout = '1m'"
            .to_owned(), "\"70s\"", "; raise user_timeout,"),
        // Keepalive is at work before the ping, and is overtaken by it.
        ("heartbeat.style = 'both'\nheartbeat.timeout = '3m'\nheartbeat.grace = '10s'\nheartbeat.interval = '80s'".to_owned(),
         "\"169s\"", "raise keepalive.count,"),
        // And before that, it has ended what is idle.
        ("heartbeat.style = 'both'\nheartbeat.timeout = '3m'\nheartbeat.grace = '10s'\nheartbeat.interval = '2m'".to_owned(),
         "\"90s\"", "raise keepalive.count,"),
    ] {
        let hint = hint(&settings);
        assert!(hint.contains(&format!("after about {verdict} (")) && hint.contains(longer), "{settings}: {hint}");
    }
    for fine in [
        // The kernel waits as long.
        format!("{client}heartbeat.grace = '1m'"),
        format!("{client}heartbeat.grace = '2m'\nkeepalive.count = 12"),
        // Nothing of the kernel's counts on a silent connection.
        format!("{client}heartbeat.grace = '2m'\nkeepalive.enabled = false\nuser_timeout = '20s'"),
        // Nobody has asked for that grace; and where nobody has to be heard from, there is none.
        "heartbeat = '5m'".to_owned(),
        "heartbeat.grace = '10m'".to_owned(),
    ] {
        assert_eq!(hints(&fine), [""; 0], "{fine}");
    }
}
