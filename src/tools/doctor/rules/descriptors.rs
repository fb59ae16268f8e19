//! Descriptors: one a connection, two a pair of a gateway, bounded for the process, for a bound, and for the host.

use super::super::{Aim, Host, Judgement};
use crate::core::units::thousands;

/// All that will be opened.
fn needed(aim: &Aim) -> u64 {
    aim.held().saturating_add(aim.descriptors_besides.saturating_mul(aim.workers))
}

/// All that one process will open. The kernel deals connections to workers by a hash, which is not quite even.
fn needed_each(aim: &Aim) -> u64 {
    let share = aim.held().div_ceil(aim.workers);
    let uneven = if aim.workers > 1 { share / 16 } else { 0 };
    share.saturating_add(uneven).saturating_add(aim.descriptors_besides)
}

fn bound(value: u64) -> String {
    // RLIM_INFINITY, and what file-max is where nobody bounds it.
    if value >= i64::MAX.unsigned_abs() { "unlimited".into() } else { value.to_string() }
}

#[expect(clippy::unnecessary_wraps, reason = "a rule: this one's value can always be read")]
pub(super) fn process(host: &Host, aim: &Aim) -> Option<Judgement> {
    let (soft, hard) = host.descriptors;
    let (needed, value) = (needed_each(aim), format!("soft {}, hard {}", bound(soft), bound(hard)));
    if hard < needed {
        let why = format!(
            "{} connections take {} descriptors{}; beyond the hard limit they wait in the accept queue, unserved",
            thousands(aim.connections),
            thousands(needed),
            if aim.workers > 1 {
                " in each worker"
            } else {
                "; several workers (--workers) would share them"
            }
        );
        // A shell of root may raise its own; a service has it from its unit.
        let judgement = Judgement::harm(value, format!("ulimit -n {needed}"), why);
        return Some(judgement.and(format!("LimitNOFILE={needed}  # [Service] of the systemd unit")));
    }
    let why = if soft < needed {
        "linger raises its soft limit to the hard one by itself"
    } else {
        "a descriptor for each connection and to spare"
    };
    Some(Judgement::ok(value, why))
}

pub(super) fn ceiling(host: &Host, aim: &Aim) -> Option<Judgement> {
    let value = host.number("fs.nr_open", 0)?;
    let needed = needed_each(aim);
    Some(if value < needed {
        let why = "no limit on descriptors of a process can be raised above it, not even by root";
        Judgement::harm(value.to_string(), format!("sysctl -w fs.nr_open={needed}"), why)
    } else {
        Judgement::ok(value.to_string(), "RLIMIT_NOFILE can be raised as far as is needed")
    })
}

pub(super) fn host(host: &Host, aim: &Aim) -> Option<Judgement> {
    let bound_on_all = host.number("fs.file-max", 0)?;
    let open = host.number("fs.file-nr", 0).unwrap_or(0);
    let needed = needed(aim).saturating_add(open);
    let value = format!("{}, {open} open", bound(bound_on_all));
    Some(if bound_on_all < needed {
        let why = format!(
            "{} are open already, and each connection is one more: accept fails with ENFILE for everyone",
            thousands(open)
        );
        Judgement::harm(value, format!("sysctl -w fs.file-max={}", needed.saturating_mul(2)), why)
    } else {
        Judgement::ok(value, "open files of the whole host")
    })
}

pub(super) fn watches(host: &Host, aim: &Aim) -> Option<Judgement> {
    let value = host.number("fs.epoll.max_user_watches", 0)?;
    let needed = needed(aim);
    Some(if value < needed {
        let why = "each connection is watched once, and the bound is on all epoll sets of a user together";
        let set = format!("sysctl -w fs.epoll.max_user_watches={}", needed.saturating_mul(2));
        Judgement::harm(value.to_string(), set, why)
    } else {
        Judgement::ok(value.to_string(), "each connection is watched once")
    })
}
