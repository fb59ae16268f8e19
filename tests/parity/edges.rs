//! What the poller says, and when it says nothing: edges.

use crate::scenarios;
use crate::step::Verb::{Drain, Fill, Finish, Recv, Send};
use crate::step::{ACCEPT, CONNECT, PLAIN, POLL, RESET, Step, backlog, client, server};
use linger::net::Interest::{Read, ReadWrite};

const WATCH_BOTH: Step = Step::Rewatch(0, ReadWrite);
const WATCH_INPUT: Step = Step::Rewatch(0, Read);

scenarios! {
    a_poll_that_is_full_leaves_the_rest_for_the_next with backlog(2000) => [
        Step::Crowd(1100), Step::PollOnce, Step::PollOnce, Step::PollOnce,
    ];
    an_interrupted_poll_brings_nothing => [
        CONNECT, ACCEPT, POLL, Step::Interrupt, client(Send(10)), Step::PollOnce, Step::PollOnce,
    ];
    an_idle_connection_says_nothing => [CONNECT, POLL, ACCEPT, POLL, POLL];
    what_was_there_before_watching => [CONNECT, client(Send(10)), ACCEPT, POLL, POLL, server(Recv(64)), POLL];
    input_is_said_once => [CONNECT, ACCEPT, client(Send(10)), POLL, POLL, client(Send(10)), POLL, POLL];
    no_edge_after_a_partial_receive => [
        CONNECT, ACCEPT, client(Send(10)), POLL, server(Recv(4)), POLL, client(Send(1)), POLL, server(Recv(64)),
        server(Recv(64)), POLL,
    ];
    a_short_receive_has_drained => [
        CONNECT, ACCEPT, client(Send(10)), POLL, server(Recv(64)), POLL, client(Send(3)), POLL, server(Recv(3)),
        POLL, server(Recv(64)),
    ];
    two_arrivals_are_one_edge => [
        CONNECT, ACCEPT, client(Send(10)), client(Send(10)), POLL, server(Recv(64)), POLL,
    ];
    input_taken_before_the_poll_leaves_nothing_to_say => [
        CONNECT, ACCEPT, POLL, client(Send(10)), server(Recv(64)), POLL,
    ];
    a_fin_with_data_is_one_edge => [
        CONNECT, ACCEPT, client(Send(10)), client(Finish), POLL, server(Recv(4)), POLL, server(Recv(64)),
        server(Recv(64)), POLL,
    ];
    a_fin_after_data_was_said => [
        CONNECT, ACCEPT, client(Send(10)), POLL, client(Finish), POLL, server(Recv(64)), server(Recv(64)), POLL,
    ];
    a_reset_after_data_was_said => [
        CONNECT, ACCEPT, client(Send(10)), POLL, client(RESET), POLL, server(Recv(64)), server(Recv(64)), POLL,
    ];
    an_error_stays_in_the_flags_until_it_is_taken => [
        CONNECT, ACCEPT, client(RESET), POLL, WATCH_INPUT, POLL, server(Recv(64)), WATCH_INPUT, POLL, WATCH_BOTH, POLL,
    ];
    rewatching_looks_again => [
        CONNECT, ACCEPT, client(Send(10)), POLL, POLL, WATCH_INPUT, POLL, WATCH_BOTH, POLL, WATCH_INPUT, POLL,
    ];
    rewatching_for_output_says_that_there_is_room => [
        CONNECT, ACCEPT, POLL, WATCH_BOTH, POLL, POLL, server(Send(10)), POLL, client(Send(1)), POLL, WATCH_INPUT,
        POLL, client(Send(1)), POLL,
    ];
    room_is_said_after_would_block => [
        CONNECT, ACCEPT, WATCH_BOTH, POLL, server(Fill), POLL, server(Send(1)), client(Drain), POLL, POLL,
        server(Send(10)), POLL,
    ];
    room_is_not_said_to_who_watches_input => [
        CONNECT, ACCEPT, server(Fill), POLL, client(Drain), POLL, WATCH_BOTH, POLL,
    ];
    watching_for_room_while_there_is_none => [
        CONNECT, ACCEPT, server(Fill), WATCH_BOTH, POLL, client(Drain), POLL, server(Send(10)), POLL,
    ];
    input_while_there_is_no_room => [
        CONNECT, ACCEPT, WATCH_BOTH, POLL, server(Fill), client(Send(10)), POLL, server(Recv(64)), client(Drain), POLL,
    ];
    acknowledged_output_is_no_edge => [
        CONNECT, ACCEPT, WATCH_BOTH, POLL, server(Send(1000)), client(Drain), POLL, server(Send(1000)), POLL,
    ];
    a_fin_while_watched_for_both => [
        CONNECT, ACCEPT, WATCH_BOTH, POLL, client(Finish), POLL, POLL, server(Recv(64)), POLL,
    ];
    our_half_close_is_an_edge => [
        CONNECT, ACCEPT, WATCH_BOTH, POLL, server(Finish), POLL, client(Finish), POLL, POLL,
    ];
    our_half_close_after_the_peers => [
        CONNECT, ACCEPT, client(Finish), POLL, server(Finish), POLL, server(Recv(64)), POLL, client(Recv(64)),
    ];
    a_closed_stream_says_nothing_more => [
        CONNECT, ACCEPT, client(Send(10)), server(PLAIN), POLL, client(Recv(64)), POLL,
    ];
    the_newest_input_of_several_connections => [
        CONNECT, CONNECT, ACCEPT, ACCEPT, POLL, Step::Client(1, Send(10)), client(Send(10)), POLL,
        Step::Client(1, PLAIN), POLL, client(RESET), POLL,
    ];
}
