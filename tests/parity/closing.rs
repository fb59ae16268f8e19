//! Each row of the closing ladder (DESIGN 1.3): who ends up with the `TIME_WAIT`, and what the other side reads.

use crate::scenarios;
use crate::step::Verb::{Drain, Drop, Error, Fill, Finish, Recv, Send};
use crate::step::{ACCEPT, CONNECT, INFO, LINGER2, PLAIN, POLL, RESET, client, linger2_inherited, server};

scenarios! {
    the_peer_closes_first => [
        CONNECT, ACCEPT, client(PLAIN), POLL, server(Recv(64)), INFO, server(PLAIN),
    ];
    the_peer_closes_first_and_the_server_flushes => [
        CONNECT, ACCEPT, client(Send(100)), client(Finish), POLL, server(Recv(64)), server(Recv(64)),
        server(Recv(64)), server(Send(5000)), server(PLAIN), client(Drain), client(PLAIN),
    ];
    the_server_closes_first_and_plainly => [
        CONNECT, ACCEPT, server(PLAIN), client(Recv(64)), client(PLAIN),
    ];
    the_server_closes_first_and_the_peer_sends_late => [
        CONNECT, ACCEPT, server(PLAIN), client(Send(10)), client(Recv(64)), client(Send(10)), client(PLAIN),
    ];
    the_server_closes_first_with_output_under_way => [
        CONNECT, ACCEPT, server(Fill), server(PLAIN), client(Drain), client(PLAIN),
    ];
    linger2_to_a_peer_that_is_alive => [
        CONNECT, ACCEPT, server(Send(10)), server(LINGER2), client(Recv(64)), client(Recv(64)), client(Send(4)),
        client(Recv(64)), client(Error), client(PLAIN),
    ];
    linger2_to_a_peer_that_does_not_read => [
        CONNECT, ACCEPT, server(Fill), server(LINGER2), client(Drain), client(Error), client(PLAIN),
    ];
    linger2_to_a_peer_that_does_not_read_and_resets => [
        CONNECT, ACCEPT, server(Fill), server(LINGER2), client(RESET),
    ];
    linger2_to_a_peer_that_does_not_read_and_closes => [
        CONNECT, ACCEPT, server(Fill), server(LINGER2), client(PLAIN),
    ];
    linger2_to_a_peer_that_does_not_read_and_sends => [
        CONNECT, ACCEPT, server(Fill), server(LINGER2), client(Send(10)), client(Drain), client(PLAIN),
    ];
    linger2_after_the_peers_fin => [
        CONNECT, ACCEPT, client(Finish), server(Recv(64)), server(Send(10)), server(LINGER2), client(Drain),
        client(PLAIN),
    ];
    linger2_inherited_by_a_plain_close with linger2_inherited() => [
        CONNECT, ACCEPT, server(Send(10)), server(PLAIN), client(Drain), client(PLAIN),
    ];
    linger2_inherited_by_a_killed_process with linger2_inherited() => [
        CONNECT, ACCEPT, server(Send(10)), server(Drop), client(Drain), client(PLAIN),
    ];
    a_killed_process_without_linger2 => [
        CONNECT, ACCEPT, server(Send(10)), server(Drop), client(Drain), client(PLAIN),
    ];
    a_killed_process_with_unread_input with linger2_inherited() => [
        CONNECT, ACCEPT, client(Send(10)), server(Drop), client(Recv(64)), client(PLAIN),
    ];
    linger2_inherited_and_the_peer_first with linger2_inherited() => [
        CONNECT, ACCEPT, client(PLAIN), server(Recv(64)), server(PLAIN),
    ];
    a_reset_by_the_server => [
        CONNECT, ACCEPT, server(RESET), client(Recv(64)), client(Recv(64)), client(PLAIN),
    ];
    a_goodbye_and_then_a_reset_by_the_server => [
        CONNECT, ACCEPT, server(Send(7)), server(RESET), client(Recv(64)), client(Recv(64)), client(Recv(64)),
        client(PLAIN),
    ];
    a_reset_by_the_server_with_output_under_way => [
        CONNECT, ACCEPT, server(Fill), server(RESET), client(Drain), client(PLAIN),
    ];
    a_reset_by_the_server_after_the_peers_fin => [
        CONNECT, ACCEPT, client(Finish), server(Recv(64)), server(RESET), client(Recv(64)), client(PLAIN),
    ];
    a_reset_by_the_server_after_its_own_fin => [
        CONNECT, ACCEPT, server(Finish), server(RESET), client(Recv(64)), client(Recv(64)), client(Error),
        client(PLAIN),
    ];
    a_plain_close_with_unread_input => [
        CONNECT, ACCEPT, client(Send(10)), server(PLAIN), client(Recv(64)), client(Recv(64)), client(PLAIN),
    ];
    a_linger2_close_with_unread_input => [
        CONNECT, ACCEPT, client(Send(10)), server(Send(10)), server(LINGER2), client(Recv(64)), client(Recv(64)),
        client(PLAIN),
    ];
    a_plain_close_with_unread_input_and_the_peers_fin => [
        CONNECT, ACCEPT, client(Send(10)), client(Finish), POLL, server(PLAIN), client(Recv(64)), client(Error),
        client(PLAIN),
    ];
    a_close_with_half_of_the_input_unread => [
        CONNECT, ACCEPT, client(Send(10)), server(Recv(5)), server(PLAIN), client(Recv(64)), client(PLAIN),
    ];
    our_half_close_and_then_the_peers_fin => [
        CONNECT, ACCEPT, server(Finish), POLL, client(Recv(64)), client(PLAIN), POLL, INFO, server(Recv(64)),
        server(LINGER2),
    ];
    our_half_close_while_the_peer_goes_on => [
        CONNECT, ACCEPT, server(Finish), client(Send(10)), POLL, server(Recv(64)), server(Send(1)), server(Error),
        server(LINGER2), client(Recv(64)), client(PLAIN),
    ];
    our_half_close_and_a_plain_close_leave_the_peer_half_open => [
        CONNECT, ACCEPT, server(Finish), INFO, server(PLAIN), client(Recv(64)), client(PLAIN),
    ];
    a_probe_to_a_closed_peer => [
        CONNECT, ACCEPT, client(PLAIN), POLL, server(Recv(64)), server(Send(2)), POLL, INFO, server(Recv(64)),
        server(Error), server(PLAIN),
    ];
    a_probe_to_a_half_closed_peer => [
        CONNECT, ACCEPT, client(Finish), POLL, server(Recv(64)), server(Send(2)), POLL, INFO, client(Recv(64)),
        server(PLAIN), client(Recv(64)), client(PLAIN),
    ];
    the_peer_resets => [
        CONNECT, ACCEPT, client(RESET), POLL, server(Recv(64)), server(PLAIN),
    ];
}
