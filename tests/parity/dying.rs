//! Each way in which a peer can go that loopback can show.

use crate::scenarios;
use crate::step::Verb::{Drain, Error, Fill, Finish, Recv, Send, SendOob};
use crate::step::{ACCEPT, CONNECT, INFO, PLAIN, POLL, RESET, Step, client, server};
use linger::net::Interest;

scenarios! {
    a_fin => [
        CONNECT, ACCEPT, client(Finish), POLL, INFO, server(Recv(64)), server(Recv(64)), server(Error),
    ];
    a_fin_behind_data => [
        CONNECT, ACCEPT, client(Send(10)), client(PLAIN), POLL, server(Recv(64)), server(Recv(64)), server(Recv(64)),
    ];
    a_half_close_and_both_go_on => [
        CONNECT, ACCEPT, client(Finish), server(Recv(64)), server(Send(10)), client(Recv(64)), server(Send(10)),
        POLL, client(Recv(4)), client(Recv(64)), INFO, server(PLAIN), client(Recv(64)), client(PLAIN),
    ];
    a_half_closed_peer_cannot_send => [
        CONNECT, ACCEPT, client(Finish), client(Send(1)), client(Error), client(Recv(64)),
    ];
    a_half_closed_peer_resets => [
        CONNECT, ACCEPT, client(Finish), POLL, server(Recv(64)), client(RESET), POLL, INFO, server(Recv(64)),
        server(Error), server(Error), server(Recv(64)), server(PLAIN),
    ];
    a_half_closed_peer_resets_and_we_send => [
        CONNECT, ACCEPT, client(Finish), server(Recv(64)), client(RESET), server(Send(1)), server(Send(1)),
        server(Recv(64)), server(PLAIN),
    ];
    a_half_closed_peer_resets_before_anyone_looks => [
        CONNECT, ACCEPT, client(Send(10)), client(Finish), client(RESET), POLL, server(Recv(64)), server(Recv(64)),
        server(Error), server(PLAIN),
    ];
    a_closed_peer_with_unread_output => [
        CONNECT, ACCEPT, server(Send(10)), client(PLAIN), POLL, server(Recv(64)), server(Recv(64)), server(PLAIN),
    ];
    a_closed_peer_that_did_not_read_all => [
        CONNECT, ACCEPT, client(Send(5)), server(Send(10)), client(Recv(4)), client(PLAIN), POLL, server(Recv(64)),
        server(Recv(64)), server(Recv(64)), server(PLAIN),
    ];
    a_peer_closes_while_our_output_is_full => [
        CONNECT, ACCEPT, server(Fill), client(PLAIN), POLL, server(Send(1)), server(Recv(64)), server(PLAIN),
    ];
    a_peer_half_closes_while_our_output_is_full => [
        CONNECT, ACCEPT, server(Fill), client(Finish), POLL, INFO, server(Recv(64)), server(Send(1)), client(Drain),
        server(PLAIN), client(Recv(64)), client(PLAIN),
    ];
    a_peer_resets_while_our_output_is_full => [
        CONNECT, ACCEPT, Step::Rewatch(0, Interest::ReadWrite), server(Fill), POLL, client(RESET), POLL, INFO,
        server(Send(1)), server(Send(1)), server(Recv(64)), server(PLAIN),
    ];
    a_reset => [
        CONNECT, ACCEPT, client(RESET), POLL, POLL, INFO, server(Recv(64)), server(Recv(64)), server(Error),
        server(Send(1)), server(PLAIN),
    ];
    a_reset_while_watched_for_both => [
        CONNECT, ACCEPT, Step::Rewatch(0, Interest::ReadWrite), POLL, client(RESET), POLL, server(Error), POLL,
        server(Recv(64)), server(PLAIN),
    ];
    a_reset_that_a_send_finds => [
        CONNECT, ACCEPT, client(RESET), server(Send(1)), server(Send(1)), server(Recv(64)), server(PLAIN),
    ];
    a_reset_behind_data => [
        CONNECT, ACCEPT, client(Send(10)), client(RESET), POLL, INFO, server(Recv(4)), server(Recv(64)),
        server(Recv(64)), server(Recv(64)), server(Error), server(PLAIN),
    ];
    a_reset_behind_data_that_a_send_finds => [
        CONNECT, ACCEPT, client(Send(10)), client(RESET), server(Send(1)), server(Recv(64)), server(Recv(64)),
        server(PLAIN),
    ];
    so_error_takes_the_reset_and_leaves_a_false_fin => [
        CONNECT, ACCEPT, client(RESET), server(Error), server(Error), server(Recv(64)), server(Send(1)), server(PLAIN),
    ];
    a_send_to_a_closed_peer => [
        CONNECT, ACCEPT, client(PLAIN), server(Send(1)), POLL, server(Send(1)), server(Send(1)), server(Recv(64)),
        server(Error), server(PLAIN),
    ];
    sends_to_a_closed_peer_that_nobody_looks_at => [
        CONNECT, ACCEPT, client(PLAIN), server(Send(1)), server(Recv(64)), server(Recv(64)), server(Send(1)),
        server(Send(1)), server(PLAIN),
    ];
    an_urgent_byte_is_not_in_the_stream_of_the_peer => [
        CONNECT, ACCEPT, server(Send(3)), server(SendOob), server(Send(3)), INFO, client(Recv(64)), client(Recv(64)),
        client(Recv(64)),
    ];
    an_urgent_byte_of_the_peer => [
        CONNECT, ACCEPT, client(Send(3)), client(SendOob), client(Send(3)), POLL, server(Recv(64)), POLL,
        server(Recv(64)), POLL, server(Recv(64)), client(Send(1)), POLL,
    ];
    an_urgent_byte_of_the_peer_alone => [
        CONNECT, ACCEPT, client(SendOob), POLL, POLL, server(Recv(64)), client(Send(1)), POLL, server(Recv(64)),
    ];
    urgent_bytes_of_the_peer_push_each_other_into_the_stream => [
        CONNECT, ACCEPT, client(Send(3)), client(SendOob), client(Send(3)), client(SendOob), POLL, server(Recv(64)),
        server(Recv(64)), server(Recv(64)), POLL,
    ];
    urgent_bytes_at_the_place_where_we_read => [
        CONNECT, ACCEPT, client(Send(3)), client(SendOob), server(Recv(64)), client(Send(2)), client(SendOob),
        server(Recv(64)), server(Recv(64)), POLL,
    ];
    an_urgent_byte_unread_at_close => [
        CONNECT, ACCEPT, server(Send(3)), server(SendOob), client(Recv(64)), client(PLAIN), POLL, server(Recv(64)),
        server(PLAIN),
    ];
    an_urgent_byte_stepped_over_before_close => [
        CONNECT, ACCEPT, server(SendOob), client(Recv(64)), client(PLAIN), POLL, server(Recv(64)), server(PLAIN),
    ];
    a_fin_behind_an_urgent_byte => [
        CONNECT, ACCEPT, client(SendOob), client(Finish), POLL, server(Recv(64)), server(Recv(64)), POLL,
    ];
    an_urgent_byte_to_a_closed_peer => [
        CONNECT, ACCEPT, client(PLAIN), server(Recv(64)), server(SendOob), POLL, INFO, server(Error), server(PLAIN),
    ];
}
