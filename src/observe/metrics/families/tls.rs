//! Metrics of TLS.

use super::super::page::{Family, all, each};

/// What failed is among the endings, by its reason.
pub(super) const HANDSHAKES: Family = each(
    "linger_tls_handshakes_total",
    "counter",
    "TLS handshakes with clients that were finished: full ones, and those that resumed an earlier session.",
    |lines, counters, gauges| {
        if !gauges.certificates.is_empty() {
            for (kind, count) in ["full", "resumed"].into_iter().zip(counters.handshakes) {
                lines.add_of(gauges, &[("kind", kind)], count);
            }
        }
    },
);

pub(super) const EXPIRY: Family = each(
    "linger_tls_certificate_expiry_timestamp_seconds",
    "gauge",
    "When a certificate of ours is no longer valid, since 1970.",
    |lines, _, gauges| {
        for certificate in &gauges.certificates {
            let [listener, protocol] = gauges.labels();
            lines.add(&[listener, protocol, ("file", certificate.file.as_str())], certificate.expires);
        }
    },
);

pub(super) const UPSTREAM_EXPIRY: Family = all(
    "linger_upstream_tls_certificate_expiry_timestamp_seconds",
    "gauge",
    "When a certificate of ours towards upstream servers is no longer valid, since 1970.",
    |lines, _, gauges| {
        for upstream in &gauges.upstreams {
            if let Some(certificate) = &upstream.certificate {
                let labels = [("upstream", upstream.name.as_str()), ("file", certificate.file.as_str())];
                lines.add(&labels, certificate.expires);
            }
        }
    },
);
