//! Peers from which nothing comes any more: what the kernel's timers make of it, and when. Needs rules of a
//! firewall's, and so a network namespace of its own.

use crate::scenarios;
use crate::step::Step::{Plug, Unplug, Wait, WaitGone};
use crate::step::Verb::{Drain, Error, Fill, Finish, Recv, Send, UserTimeout};
use crate::step::{
    ACCEPT, CONNECT, INFO, LINGER2, PLAIN, POLL, RESET, Step, client, server, watched, watched_for,
};
use std::time::Duration;

scenarios! {
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    keepalive_ends_an_idle_connection with watched(true, None) => [
        CONNECT, ACCEPT, POLL, Unplug(0), Wait(10), INFO, server(Recv(64)), server(Recv(64)), server(PLAIN), Plug(0),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    keepalive_says_nothing_while_the_peer_answers with watched(true, None) => [
        CONNECT, ACCEPT, POLL, Wait(5), INFO, server(Send(5)), client(Recv(64)),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    keepalive_rests_while_something_is_in_flight with watched(true, None) => [
        CONNECT, ACCEPT, POLL, Unplug(0), server(Send(1)), Wait(8), INFO, Plug(0), Wait(20), client(Recv(64)), INFO,
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_user_timeout_ends_what_is_in_flight with watched(true, Some(3)) => [
        CONNECT, ACCEPT, POLL, Unplug(0), server(Send(1)), Wait(10), INFO, server(Recv(64)), server(Recv(64)),
        server(PLAIN), Plug(0),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_user_timeout_alone_never_ends_an_idle_connection with watched(false, Some(2)) => [
        CONNECT, ACCEPT, POLL, Unplug(0), Wait(6), INFO, Plug(0), server(Send(1)), client(Recv(64)),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_user_timeout_replaces_the_count_of_keepalive with watched(true, Some(4)) => [
        CONNECT, ACCEPT, POLL, Unplug(0), Wait(10), INFO, server(Recv(64)), server(PLAIN), Plug(0),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_user_timeout_just_under_the_sum_waits_for_every_probe
        with watched_for(true, Some(Duration::from_millis(3500))) => [
        CONNECT, ACCEPT, POLL, Unplug(0), Wait(10), INFO, server(Recv(64)), server(PLAIN), Plug(0),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_user_timeout_below_keepalive_ends_at_the_first_probe_unanswered with watched(true, Some(1)) => [
        CONNECT, ACCEPT, POLL, Unplug(0), Wait(10), server(Recv(64)), server(PLAIN), Plug(0),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_user_timeout_ends_a_shut_window with watched(true, Some(3)) => [
        CONNECT, ACCEPT, server(Fill), POLL, Wait(10), INFO, server(Recv(64)), server(PLAIN), client(Drain),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_linger2_orphan_lives_as_long_as_its_user_timeout with watched(false, Some(2)) => [
        CONNECT, ACCEPT, Unplug(0), server(Send(10)), server(LINGER2), WaitGone(0, 20), Plug(0),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_user_timeout_set_at_the_close_bounds_a_fin => [
        CONNECT, ACCEPT, Unplug(0), server(UserTimeout(2)), server(LINGER2), WaitGone(0, 20), Plug(0),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_user_timeout_set_at_the_close_bounds_what_is_in_flight with watched(false, Some(60)) => [
        CONNECT, ACCEPT, Unplug(0), server(Send(10)), Step::Pass(2000), INFO, server(UserTimeout(1)), server(LINGER2),
        WaitGone(0, 20), Plug(0),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_reset_leaves_nothing_even_to_the_unreachable => [
        CONNECT, ACCEPT, Unplug(0), server(Send(10)), server(RESET), Plug(0), client(Send(1)), client(Recv(64)),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    what_is_lost_comes_again with watched(false, None) => [
        CONNECT, ACCEPT, Unplug(0), client(Send(10)), client(Finish), POLL, Plug(0), Wait(20), server(Recv(64)),
        server(Recv(64)), server(PLAIN),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    both_close_at_once => [
        CONNECT, ACCEPT, Unplug(0), client(PLAIN), server(PLAIN), Plug(0), Step::Pass(3000),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    both_close_at_once_and_ours_is_linger2 => [
        CONNECT, ACCEPT, Unplug(0), client(PLAIN), server(LINGER2), Plug(0), Step::Pass(3000),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    both_half_close_at_once => [
        CONNECT, ACCEPT, Unplug(0), client(Finish), server(Finish), Plug(0), Step::Pass(3000), POLL, server(Recv(64)),
        server(Error), server(LINGER2),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_peer_that_resets_unheard with watched(true, None) => [
        CONNECT, ACCEPT, POLL, Unplug(0), client(RESET), POLL, Plug(0), Wait(10), INFO, server(Recv(64)),
        server(Recv(64)), server(PLAIN),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_reset_that_is_lost_is_answered_to_the_next_segment => [
        CONNECT, ACCEPT, POLL, Unplug(0), client(RESET), Plug(0), server(Send(1)), POLL, server(Recv(64)),
        server(Error), server(PLAIN),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_lost_reset_of_ours_is_answered_to_the_next_segment => [
        CONNECT, ACCEPT, POLL, Unplug(0), server(RESET), Plug(0), client(Send(1)), client(Recv(64)), client(PLAIN),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_shut_window_of_an_unplugged_peer with watched(false, Some(3)) => [
        CONNECT, ACCEPT, server(Fill), POLL, Unplug(0), Wait(10), INFO, server(Recv(64)), server(PLAIN), Plug(0),
        client(Drain),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_fin_that_is_lost_with_keepalive with watched(true, None) => [
        CONNECT, ACCEPT, POLL, Unplug(0), client(PLAIN), Wait(10), INFO, server(Recv(64)), server(PLAIN), Plug(0),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    keepalive_after_the_peers_half_close with watched(true, None) => [
        CONNECT, ACCEPT, client(Finish), POLL, server(Recv(64)), Unplug(0), Wait(10), INFO, server(Recv(64)),
        server(Error), server(PLAIN), Plug(0),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    input_before_keepalive_gives_up with watched(true, None) => [
        CONNECT, ACCEPT, client(Send(10)), POLL, Unplug(0), Wait(10), INFO, server(Recv(64)), server(Recv(64)),
        server(Recv(64)), server(PLAIN), Plug(0),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_last_ack_that_is_lost with watched(false, Some(2)) => [
        CONNECT, ACCEPT, client(Finish), POLL, server(Recv(64)), Unplug(0), server(PLAIN), WaitGone(0, 20), Plug(0),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_plain_orphan_with_a_user_timeout with watched(false, Some(2)) => [
        CONNECT, ACCEPT, Unplug(0), server(PLAIN), WaitGone(0, 20), Plug(0),
    ];
    #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
    a_shut_window_orphan_with_a_user_timeout with watched(false, Some(2)) => [
        CONNECT, ACCEPT, server(Fill), server(LINGER2), WaitGone(0, 20), client(Drain),
    ];
}
