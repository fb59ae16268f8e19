//! How many half-closes the gateways of a running server forward, by what its metrics say.

use crate::core::time::Duration;
use std::collections::BTreeMap;

/// What was read once.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    uptime: f64,
    /// `linger_forwarded_fins_total` by the name of the listener.
    forwarded: BTreeMap<String, f64>,
}

impl Seen {
    /// Reads the page of metrics; nothing if it is none of a server of ours.
    pub fn read(page: &str) -> Option<Self> {
        let mut uptime = None;
        let mut forwarded = BTreeMap::new();
        for line in page.lines() {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let value = value.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0);
            if name == "linger_uptime_seconds" {
                uptime = value;
            } else if let Some(labels) = name.strip_prefix("linger_forwarded_fins_total{")
                && let Some((_, rest)) = labels.split_once("listener=\"")
                && let Some((listener, _)) = rest.split_once('"')
            {
                forwarded.insert(listener.to_owned(), value?);
            }
        }
        Some(Self { uptime: uptime?, forwarded })
    }

    /// Half-closes a minute of these listeners: on the average since the server has been up, or just now, what is more.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates"
    )]
    pub fn a_minute(&self, before: &Self, apart: Duration, listeners: &[String]) -> Option<u64> {
        let of = |seen: &Self| {
            listeners.iter().filter_map(|name| seen.forwarded.get(name)).copied().reduce(|a, b| a + b)
        };
        let all = of(self)?;
        let new = all - of(before).unwrap_or(all);
        let average = all / self.uptime.max(apart.as_secs_f64());
        Some((average.max(new / apart.as_secs_f64()) * 60.0).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(uptime: u32, forwarded: u32) -> Seen {
        let page = format!(
            "# HELP linger_uptime_seconds Time.\nlinger_uptime_seconds {uptime}\n\
             linger_forwarded_fins_total{{listener=\"gate\"}} {forwarded}\n\
             linger_forwarded_fins_total{{listener=\"other\"}} 7\n"
        );
        Seen::read(&page).unwrap()
    }

    #[test]
    fn the_average_or_the_present_counts_whichever_is_more() {
        let two = Duration::from_secs(2);
        let a_minute = |before: &Seen, after: &Seen| after.a_minute(before, two, &["gate".to_owned()]);
        assert_eq!(a_minute(&seen(598, 1_000), &seen(600, 1_000)), Some(100));
        assert_eq!(a_minute(&seen(598, 1_000), &seen(600, 1_010)), Some(300));
        // Started again between the looks.
        assert_eq!(a_minute(&seen(598, 1_000), &seen(0, 1)), Some(30));
        let both = ["gate".to_owned(), "other".to_owned()];
        assert_eq!(seen(600, 993).a_minute(&seen(598, 993), two, &both), Some(100));
        assert_eq!(seen(600, 1).a_minute(&seen(598, 1), two, &["nobody".to_owned()]), None);
    }

    #[test]
    fn a_page_of_another_server_says_nothing() {
        assert_eq!(Seen::read("HTTP/1.1 200 OK\r\n\r\nup 1\n"), None);
        assert_eq!(Seen::read("linger_uptime_seconds NaN\n"), None);
    }
}
