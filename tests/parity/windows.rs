//! A peer that does not read: the window shuts, and opens.

use crate::scenarios;
use crate::step::Verb::{Drain, Fill, Recv, Send};
use crate::step::{ACCEPT, CONNECT, INFO, LINGER2, PLAIN, POLL, RESET, Step, client, server};
use linger::net::Interest::ReadWrite;

const WATCH_BOTH: Step = Step::Rewatch(0, ReadWrite);

scenarios! {
    an_idle_connection => [CONNECT, ACCEPT, INFO, server(Send(10)), INFO, client(Recv(64)), INFO];
    the_window_shuts_and_opens => [
        CONNECT, ACCEPT, WATCH_BOTH, POLL, server(Fill), INFO, POLL, client(Drain), POLL, INFO, server(Send(100)),
        client(Drain),
    ];
    the_window_shuts_twice => [
        CONNECT, ACCEPT, WATCH_BOTH, server(Fill), client(Drain), POLL, server(Fill), INFO, client(Drain), POLL, INFO,
    ];
    a_sip_does_not_open_it => [
        CONNECT, ACCEPT, WATCH_BOTH, POLL, server(Fill), client(Recv(10)), INFO, POLL,
    ];
    the_servers_own_window_shuts => [
        CONNECT, ACCEPT, client(Fill), POLL, server(Drain), POLL, client(Fill), POLL,
    ];
    a_shut_window_is_probed_and_the_peer_answers => [
        CONNECT, ACCEPT, server(Fill), Step::Pass(1500), INFO, POLL, client(Drain), INFO,
    ];
    linger2_waits_for_the_window => [
        CONNECT, ACCEPT, server(Fill), server(LINGER2), Step::Pass(1000), client(Drain), client(PLAIN),
    ];
    a_reset_does_not => [
        CONNECT, ACCEPT, server(Fill), server(RESET), client(Drain), client(PLAIN),
    ];
    both_windows_shut => [
        CONNECT, ACCEPT, WATCH_BOTH, server(Fill), client(Fill), POLL, INFO, server(Drain), client(Drain), POLL, INFO,
    ];
}
