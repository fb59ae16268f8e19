//! The server connects to an upstream: what the poller says of it, how it fails, and who ends up with the `TIME_WAIT`.
//! The upstream's end is the client's of a trace.

use crate::scenarios;
use crate::step::Verb::{Drain, Error, Fill, Finish, Recv, Send};
use crate::step::{
    CONNECT_OUT, INFO, LINGER2, LISTEN, PLAIN, POLL, RESET, Step, TAKE, client, linger2_inherited, server,
};
use linger::net::Interest::{Read, ReadWrite};

scenarios! {
    an_upstream_accepts => [
        LISTEN, CONNECT_OUT, POLL, POLL, server(Error), TAKE, INFO, server(Send(10)), client(Recv(64)),
        client(Send(10)), POLL, server(Recv(64)), POLL,
    ];
    an_upstream_that_does_not_listen => [
        LISTEN, Step::Refuse, CONNECT_OUT, POLL, POLL, INFO, server(Error), server(Error), POLL, server(Recv(64)),
        server(Send(1)), server(PLAIN),
    ];
    a_refusal_that_a_receive_finds => [
        LISTEN, Step::Refuse, CONNECT_OUT, server(Recv(64)), server(Recv(64)), server(Error), server(PLAIN),
    ];
    a_refusal_that_a_send_finds => [
        LISTEN, Step::Refuse, CONNECT_OUT, server(Send(1)), server(Send(1)), server(Error), server(PLAIN),
    ];
    an_upstream_that_never_accepts => [
        LISTEN, CONNECT_OUT, POLL, server(Error), server(Send(1000)), INFO, POLL,
    ];
    an_upstream_that_closes_its_queue => [
        LISTEN, CONNECT_OUT, POLL, server(Send(10)), Step::Refuse, POLL, server(Error), server(Recv(64)),
        server(PLAIN),
    ];
    a_full_queue_answers_nothing => [
        Step::Listen(0), CONNECT_OUT, CONNECT_OUT, POLL, Step::Info(1), Step::Server(1, Send(1)),
        Step::Server(1, Recv(1)), Step::Server(1, Error), TAKE, Step::Pass(1500), POLL, Step::Info(1), TAKE,
        Step::Server(1, Send(10)), Step::Client(1, Recv(64)),
    ];
    a_connect_given_up => [
        Step::Listen(0), CONNECT_OUT, CONNECT_OUT, POLL, Step::Server(1, PLAIN), TAKE, Step::Pass(1500), POLL, TAKE,
    ];
    a_connect_given_up_by_a_reset => [
        Step::Listen(0), CONNECT_OUT, CONNECT_OUT, POLL, Step::Server(1, RESET), TAKE, Step::Pass(1500), POLL, TAKE,
    ];
    what_is_watched_while_connecting_says_nothing => [
        Step::Listen(0), CONNECT_OUT, CONNECT_OUT, POLL, Step::Rewatch(1, ReadWrite), POLL, Step::Rewatch(1, Read), POLL,
    ];
    connected_while_watched_for_input => [
        LISTEN, CONNECT_OUT, Step::Rewatch(0, Read), POLL, Step::Rewatch(0, ReadWrite), POLL, TAKE, client(Send(3)), POLL,
    ];
    the_upstream_speaks_first => [
        LISTEN, CONNECT_OUT, TAKE, client(Send(20)), POLL, server(Recv(64)), POLL,
    ];
    the_upstream_closes_first => [
        LISTEN, CONNECT_OUT, TAKE, client(Send(20)), client(PLAIN), POLL, server(Recv(64)), server(Recv(64)),
        server(PLAIN),
    ];
    the_upstream_closes_first_and_we_shut_down => [
        LISTEN, CONNECT_OUT, TAKE, client(PLAIN), POLL, server(Recv(64)), server(Finish), POLL, server(PLAIN),
    ];
    the_upstream_half_closes_and_reads_on => [
        LISTEN, CONNECT_OUT, TAKE, client(Finish), POLL, server(Recv(64)), server(Send(1000)), client(Drain),
        server(LINGER2), client(Recv(64)), client(PLAIN),
    ];
    the_upstream_half_closes_and_resets => [
        LISTEN, CONNECT_OUT, TAKE, client(Finish), POLL, server(Recv(64)), client(RESET), POLL, server(Send(1)),
        server(Error), server(PLAIN),
    ];
    the_upstream_resets => [
        LISTEN, CONNECT_OUT, POLL, TAKE, client(RESET), POLL, server(Recv(64)), server(Error), server(PLAIN),
    ];
    the_upstream_resets_behind_its_answer => [
        LISTEN, CONNECT_OUT, POLL, TAKE, client(Send(20)), client(RESET), POLL, server(Recv(64)), server(Recv(64)),
        server(PLAIN),
    ];
    the_upstream_closes_with_unread_input => [
        LISTEN, CONNECT_OUT, TAKE, server(Send(10)), client(PLAIN), POLL, server(Recv(64)), server(PLAIN),
    ];
    a_forwarded_half_close_is_a_time_wait => [
        LISTEN, CONNECT_OUT, TAKE, server(Send(10)), server(Finish), POLL, client(Drain), client(Send(10)), POLL,
        server(Recv(64)), client(PLAIN), POLL, server(Recv(64)), server(PLAIN),
    ];
    a_forwarded_half_close_is_a_time_wait_with_linger2 with linger2_inherited() => [
        LISTEN, CONNECT_OUT, TAKE, server(Finish), client(Drain), client(PLAIN), POLL, server(Recv(64)),
        server(LINGER2),
    ];
    a_forwarded_half_close_is_a_time_wait_whatever_closes => [
        LISTEN, CONNECT_OUT, TAKE, server(Finish), client(Drain), client(PLAIN), POLL, server(RESET),
    ];
    a_forwarded_half_close_and_linger2_before_the_peers_fin => [
        LISTEN, CONNECT_OUT, TAKE, server(Finish), server(LINGER2), client(Drain), client(Send(1)), client(PLAIN),
    ];
    linger2_first_leaves_nothing => [
        LISTEN, CONNECT_OUT, TAKE, server(Send(1000)), server(LINGER2), client(Drain), client(PLAIN),
    ];
    linger2_behind_a_full_output_delivers_it => [
        LISTEN, CONNECT_OUT, TAKE, server(Fill), server(LINGER2), client(Drain), client(PLAIN),
    ];
    linger2_from_the_beginning_leaves_nothing with linger2_inherited() => [
        LISTEN, CONNECT_OUT, TAKE, server(Send(1000)), server(PLAIN), client(Drain), client(PLAIN),
    ];
    linger2_first_and_the_upstream_answers_late => [
        LISTEN, CONNECT_OUT, TAKE, server(Send(10)), server(LINGER2), client(Send(10)), client(Drain), client(PLAIN),
    ];
    linger2_after_the_upstreams_fin => [
        LISTEN, CONNECT_OUT, TAKE, client(Finish), server(Recv(64)), server(Send(10)), server(LINGER2),
        client(Drain), client(PLAIN),
    ];
    a_plain_close_first_is_a_time_wait => [
        LISTEN, CONNECT_OUT, TAKE, server(PLAIN), client(Drain), client(PLAIN),
    ];
    a_reset_leaves_nothing => [
        LISTEN, CONNECT_OUT, TAKE, server(Fill), server(RESET), client(Drain), client(PLAIN),
    ];
    room_is_said_towards_an_upstream_that_reads_late => [
        LISTEN, CONNECT_OUT, POLL, TAKE, server(Fill), POLL, server(Send(1)), client(Drain), POLL, POLL,
    ];
}
