//! The accept queue: what waits in it, how much it holds, and what becomes of it.

use crate::scenarios;
use crate::step::Step::{Accept, Client, CloseListener, Connect, Info, Pass, Poll, Queue, Server};
use crate::step::Verb::{Error, Finish, Recv, Send};
use crate::step::{PLAIN, RESET, backlog, linger2_inherited};

scenarios! {
    the_queue_is_told => [Queue, Connect, Queue, Connect, Queue, Accept, Queue, Accept, Accept, Queue];
    arrivals_are_edges_of_the_listener => [Connect, Poll, Poll, Connect, Poll, Accept, Poll, Connect, Poll];
    one_edge_for_several => [Connect, Connect, Connect, Poll, Poll, Accept, Poll, Accept, Accept, Accept, Poll];
    first_come_first_served => [Connect, Connect, Connect, Accept, Accept, Accept, Accept];
    the_queue_holds_its_backlog_and_one with backlog(1) => [
        Connect, Connect, Queue, Connect, Queue, Accept, Queue, Accept, Accept, Pass(3000), Queue, Accept,
    ];
    a_backlog_of_nothing_holds_one with backlog(0) => [
        Queue, Connect, Queue, Connect, Queue, Accept, Queue, Pass(3000), Queue, Accept,
    ];
    data_and_fin_of_one_that_waits => [
        Connect, Client(0, Send(10)), Client(0, PLAIN), Queue, Poll, Accept, Poll, Server(0, Recv(64)),
        Server(0, Recv(64)), Server(0, PLAIN),
    ];
    a_half_close_of_one_that_waits => [
        Connect, Client(0, Finish), Accept, Poll, Server(0, Recv(64)), Server(0, Send(10)), Client(0, Recv(64)),
        Server(0, PLAIN), Client(0, Recv(64)), Client(0, PLAIN),
    ];
    one_that_waits_resets => [
        Connect, Client(0, RESET), Queue, Poll, Accept, Info(0), Poll, Server(0, Recv(64)), Server(0, Recv(64)),
        Server(0, PLAIN),
    ];
    one_that_waits_sends_and_resets => [
        Connect, Client(0, Send(10)), Client(0, RESET), Queue, Accept, Poll, Server(0, Recv(64)),
        Server(0, Recv(64)), Server(0, PLAIN),
    ];
    one_of_several_that_wait_resets => [
        Connect, Connect, Connect, Client(1, RESET), Queue, Accept, Accept, Accept, Poll, Server(1, Recv(64)),
    ];
    what_goes_at_once_still_counts_in_the_queue with backlog(0) => [
        Connect, Client(0, RESET), Queue, Connect, Queue, Accept, Queue, Pass(3000), Queue, Accept,
    ];
    closing_a_listener_resets_what_waits => [
        Connect, Connect, Accept, CloseListener, Client(1, Recv(64)), Client(0, Send(10)), Poll, Server(0, Recv(64)),
    ];
    what_waits_half_closed_is_reset_with_its_listener => [
        Connect, Client(0, Finish), CloseListener, Client(0, Recv(64)), Client(0, Recv(64)),
    ];
    nobody_listens_any_more => [
        Connect, Accept, CloseListener, Connect, Client(1, Error), Client(1, Recv(64)), Client(0, Send(1)), Poll,
    ];
    closing_a_listener_with_linger2_resets_what_waits with linger2_inherited() => [
        Connect, Client(0, Send(10)), CloseListener, Client(0, Recv(64)), Client(0, Recv(64)),
    ];
}
