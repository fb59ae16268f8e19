//! A listener as a URL: `resp://0.0.0.0:7000?heartbeat=30s&backlog=4096`. The scheme is the protocol, the
//! authority is the address, and every other key of a listener can be a parameter.

use super::diagnostic::{Diagnostic, Place};
use super::keys::Table;
use super::layer::Layer;
use super::value::Raw;
use crate::protocol::Registry;

/// Reads a URL; what is wrong is reported with the parameter named. `None`: it is none, so that nothing is
/// missing in it either.
pub(super) fn read(
    url: &str,
    place: &Place,
    registry: &'static Registry,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Layer> {
    let mut report = |key: &str, wrong: &str, right: &str| {
        mistakes.push(Diagnostic {
            place: place.clone(),
            key: key.to_owned(),
            wrong: wrong.to_owned(),
            right: right.to_owned(),
        });
    };
    let Some((scheme, rest)) = url.split_once("://") else {
        report("", "is not a URL", "write PROTOCOL://ADDRESS:PORT, as resp://127.0.0.1:7000");
        return None;
    };
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parameters = Vec::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some((name @ ("protocol" | "address"), _)) => {
                report(name, "is given twice", "the URL itself says it, before the '?'");
            }
            Some((name, value)) => parameters.push((name, value)),
            None => report(parameter, "has no value", &format!("write {parameter}=VALUE")),
        }
    }

    let (protocol, over_tls) = protocol_of(scheme, registry);
    let mut layer = Layer::new(Table::listener(Some(protocol), registry));
    layer.take("", "protocol", Raw::Bare(protocol), place, mistakes);
    if over_tls {
        layer.take("", "tls.enabled", Raw::Bare("on"), place, mistakes);
    }
    layer.take("", "address", Raw::Bare(authority.strip_suffix('/').unwrap_or(authority)), place, mistakes);
    for (name, value) in parameters {
        layer.take("", name, Raw::Bare(value), place, mistakes);
    }
    Some(layer)
}

/// The protocol that a scheme stands for, and whether it is spoken over TLS: `resps` is `resp` over TLS, as `https` is to
/// `http`, and `tls` is the same to `tcp`.
fn protocol_of<'a>(scheme: &'a str, registry: &Registry) -> (&'a str, bool) {
    if registry.client(scheme).is_some() {
        return (scheme, false);
    }
    let plain = if scheme == "tls" { Some("tcp") } else { scheme.strip_suffix('s') };
    plain.filter(|plain| registry.client(plain).is_some()).map_or((scheme, false), |plain| (plain, true))
}
