//! A gateway between a client and a server: the table "who is told what", played by the whole reactor on both kernels.

use crate::pair::{CLOSE, RESET, Step, Upstream, agree, client, server};
use crate::step::Verb;

macro_rules! pairs {
    ($($upstream:ident: $name:ident with $query:literal => [$($step:expr),+ $(,)?] ends $ends:literal;)+) => {$(
        #[test]
        fn $name() {
            agree($query, Upstream::$upstream, &[$($step),+], $ends);
        }
    )+};
}

pairs! {
    Accepts: the_clients_fin_is_forwarded_and_the_answer_still_comes with "half_close=forward" => [
        client(Verb::Send(1_000)),
        client(Verb::Finish),
        server(Verb::Drain),
        server(Verb::Send(500)),
        server(CLOSE),
        client(Verb::Drain),
    ] ends "client peer.fin zero_read peer_first, 0 lost; upstream peer.fin partner forwarded_fin, 0 lost";
    Accepts: the_servers_fin_is_forwarded_and_the_client_goes_on with "half_close=forward" => [
        server(Verb::Send(1_000)),
        server(Verb::Finish),
        client(Verb::Drain),
        client(Verb::Send(500)),
        client(CLOSE),
        server(Verb::Drain),
    ] ends "client upstream.fin partner forwarded_fin, 0 lost; upstream upstream.fin zero_read peer_first, 0 lost";
    Accepts: a_fin_of_the_client_means_departure with "half_close=end" => [
        client(Verb::Send(1_000)),
        client(CLOSE),
        server(Verb::Drain),
    ] ends "client peer.fin zero_read peer_first, 0 lost; upstream peer.fin partner linger2, 0 lost";
    Accepts: a_fin_of_the_server_means_departure with "half_close=end" => [
        server(Verb::Send(1_000)),
        server(CLOSE),
        client(Verb::Drain),
    ] ends "client upstream.fin partner linger2, 0 lost; upstream upstream.fin zero_read peer_first, 0 lost";
    Accepts: the_clients_reset_is_a_reset_for_the_server with "half_close=forward" => [
        client(Verb::Send(10)),
        server(Verb::Drain),
        client(RESET),
        server(Verb::Drain),
    ] ends "client peer.reset recv_error reset, 0 lost; upstream peer.reset partner reset, 0 lost";
    Accepts: the_servers_reset_is_a_reset_for_the_client with "half_close=forward" => [
        server(Verb::Send(10)),
        client(Verb::Drain),
        server(RESET),
        client(Verb::Drain),
    ] ends "client upstream.reset partner reset, 0 lost; upstream upstream.reset recv_error reset, 0 lost";
    Accepts: a_reset_behind_an_answer_comes_after_it with "half_close=forward" => [
        server(Verb::Send(10_000)),
        server(RESET),
        client(Verb::Drain),
    ] ends "client upstream.reset partner reset, 0 lost; upstream upstream.reset recv_error reset, 0 lost";
    Accepts: both_may_have_finished_before_either_closes with "half_close=forward" => [
        client(Verb::Finish),
        server(Verb::Finish),
        client(Verb::Drain),
        server(Verb::Drain),
    ] ends "client peer.fin zero_read peer_first, 0 lost; upstream peer.fin partner forwarded_fin, 0 lost";
    Accepts: a_server_that_closes_with_unread_input_resets_the_client with "half_close=forward" => [
        client(Verb::Send(1_000)),
        server(CLOSE),
        client(Verb::Drain),
    ] ends "client upstream.reset partner reset, 0 lost; upstream upstream.reset recv_error reset, 0 lost";
    Accepts: a_client_that_closes_with_unread_output_resets_the_server with "half_close=forward" => [
        server(Verb::Send(1_000)),
        client(CLOSE),
        server(Verb::Drain),
    ] ends "client peer.reset recv_error reset, 0 lost; upstream peer.reset partner reset, 0 lost";
    Absent: a_client_whose_server_is_not_there_is_reset with "half_close=forward" => [
        client(Verb::Drain),
    ] ends "client upstream.refused connect reset, 0 lost; upstream upstream.refused connect reset, 0 lost";
    Accepts: who_is_kicked_has_what_was_on_its_way_and_both_an_orderly_end with "half_close=forward" => [
        client(Verb::Send(1_000)),
        server(Verb::Send(10_000)),
        Step::Kick,
        client(Verb::Drain),
        server(Verb::Drain),
        client(CLOSE),
        server(CLOSE),
    ] ends "client local.kicked operator linger2, 0 lost; upstream local.kicked partner linger2, 0 lost";
    Accepts: a_pair_at_rest_is_kicked_in_order with "half_close=end" => [
        client(Verb::Send(1_000)),
        server(Verb::Drain),
        Step::Kick,
        server(Verb::Drain),
        client(Verb::Drain),
    ] ends "client local.kicked operator linger2, 0 lost; upstream local.kicked partner linger2, 0 lost";
    Accepts: a_half_closed_pair_is_kicked with "half_close=forward" => [
        client(Verb::Finish),
        server(Verb::Drain),
        server(Verb::Send(1_000)),
        Step::Kick,
        client(Verb::Drain),
        server(Verb::Send(1)),
    ] ends "client peer.fin zero_read peer_first, 0 lost; upstream peer.fin partner linger2, 0 lost";
    Accepts: a_drain_ends_a_pair_in_order with "half_close=forward" => [
        client(Verb::Send(1_000)),
        server(Verb::Send(10_000)),
        Step::Drain,
        client(Verb::Drain),
        server(Verb::Drain),
        client(CLOSE),
        server(CLOSE),
    ] ends "client local.drain policy linger2, 0 lost; upstream local.drain partner linger2, 0 lost";
    Full: a_client_that_leaves_while_its_server_is_connected_ends_the_connect with "half_close=end" => [
        client(CLOSE),
        Step::NobodyComes(1_500),
    ] ends "client peer.fin zero_read peer_first, 0 lost; upstream peer.fin partner reset, 0 lost";
    Full: a_reset_while_its_server_is_connected_ends_the_connect with "half_close=forward" => [
        client(Verb::Send(10)),
        client(RESET),
        Step::NobodyComes(1_500),
    ] ends "client peer.reset readiness reset, 0 lost; upstream peer.reset partner reset, 10 lost";
    Full: a_fin_while_its_server_is_connected_is_forwarded_with_what_was_before_it with "half_close=forward" => [
        client(Verb::Send(1_000)),
        client(Verb::Finish),
        Step::TakeLate,
        server(Verb::Drain),
        server(Verb::Send(500)),
        server(CLOSE),
        client(Verb::Drain),
    ] ends "client peer.fin zero_read peer_first, 0 lost; upstream peer.fin partner forwarded_fin, 0 lost";
    Full: a_connect_that_completes_when_its_client_has_left_is_closed with "half_close=end" => [
        Step::Stop,
        client(CLOSE),
        Step::TakeLate,
        Step::Continue,
        server(Verb::Drain),
    ] ends "client peer.fin zero_read peer_first, 0 lost; upstream peer.fin partner reset, 0 lost";
    Full: a_connect_that_completes_when_its_client_has_reset_is_closed with "half_close=forward" => [
        Step::Stop,
        client(Verb::Send(10)),
        client(RESET),
        Step::TakeLate,
        Step::Continue,
        server(Verb::Drain),
    ] ends "client peer.reset readiness reset, 0 lost; upstream peer.reset partner reset, 10 lost";
}
