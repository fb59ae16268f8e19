//! N endings of every kind, and what is left of them: exactly the right records, and nothing on the host.
//!
//! Each kind is played twice. Plain `cargo test` plays it on loopback, 500 times, and tells the server's
//! sockets by their port. The second form, ignored there, gives the server a network namespace of its own,
//! where the kernel's counters show every `TIME_WAIT` that ever was:
//!
//! ```sh
//! LINGER_TEST_ENDINGS=5000 unshare -n bash -c \
//!     'ip link set lo up; LINGER_TEST_NAMESPACE=1 cargo test --test kernel close:: -- --ignored'
//! ```
//!
//! [`stage`] has what all of them share and what is asserted of each. Then by who ends it: [`by_peer`],
//! [`by_server`], [`by_silence`], [`by_exit`].

#![expect(unreachable_pub, reason = "a test crate has no outside")]
#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]
#![expect(clippy::disallowed_types, reason = "clients of the tests are ordinary blocking ones")]
#![expect(clippy::disallowed_methods, reason = "tests wait on the real clock")]

mod by_exit;
mod by_peer;
mod by_server;
mod by_silence;
mod stage;

use stage::Place;

/// Makes two tests of each kind of ending.
macro_rules! kinds {
    ($($theme:ident::{$($kind:ident),+ $(,)?})+) => {
        mod on_loopback {
            $($(#[test] fn $kind() { super::$theme::$kind(super::Place::Loopback); })+)+
        }
        mod in_own_namespace {
            $($(
                #[test]
                #[ignore = "needs root and a network namespace of its own: scripts/ci.sh runs it"]
                fn $kind() { super::$theme::$kind(super::Place::OwnNamespace); }
            )+)+
        }
    };
}

kinds! {
    by_peer::{
        a_client_closes,
        a_client_closes_within_a_frame,
        a_client_half_closes_and_reads_on,
        a_client_resets,
        a_client_says_goodbye_and_closes,
        a_client_says_goodbye_and_waits,
        a_client_comes_back_on_a_new_connection,
        a_closed_client_is_probed,
    }
    by_server::{
        a_client_is_malformed,
        a_client_is_oversized,
        a_client_is_kicked_by_the_operator,
        a_client_is_killed_by_another,
        a_client_is_idle,
        a_client_is_idle_where_no_goodbye_exists,
        a_client_never_speaks,
    }
    by_silence::{
        a_client_is_silent_but_alive,
        a_client_is_frozen,
        a_client_does_not_read_what_it_asked_for,
        a_subscriber_falls_too_far_behind,
        a_client_takes_nothing_for_too_long,
    }
    by_exit::{
        the_server_drains,
        the_server_drains_and_is_hurried,
        the_server_is_killed,
        the_server_is_killed_and_has_no_linger2,
    }
}
