//! What is asked at the admin interface: who is refused, what each path means, and what a list is to contain.
//! `session` is one connection, of one process or of the supervisor of several workers.

mod ends;
mod events;
mod filter;
mod list;
mod many;
mod page;
mod session;
mod settings;
mod sites;
mod spoken;
#[cfg(test)]
mod tests;

pub use ends::{Cursor, EndsQuery, PAIRS_MAX};
pub use events::EventsQuery;
pub use filter::Filter;
pub use list::{ListQuery, PeerFilter};
pub use many::EndMany;
pub use session::{Close, Next, Session};
use sites::answers_to;
pub use spoken::Spoken;
use spoken::{server_of, word_of};

use super::first_bytes::Opening;
use super::http::{self, Method, Rejected, Request, Response, Status};
use super::spec::{Inapplicable, LocalOnly, Reached, Spec};
use super::{Access, Hosts, Identity, Token};
use crate::core::end::Foreign;
use crate::core::setting::{Key, Values};
use crate::core::time::Duration;
use crate::core::units::parse_some_time;
use std::convert::Infallible;

/// Connections listed unless the query asks for another number, and at most.
const LIST_DEFAULT: usize = 1_000;
const LIST_MAX: usize = 10_000;

/// The admin interface, over HTTP.
#[derive(Debug)]
pub struct Admin;

/// There is no goodbye: a response belongs to a request.
impl Spec for Admin {
    const NAME: &'static str = "http";
    const SUMMARY: &'static str = "answers the operator";
    const SERVES_CLIENTS: bool = false;
    const KEEPS_SESSION: bool = true;
    const SETTINGS: &'static [Key] = &settings::SETTINGS;
    const DEFAULTS: &'static [(&'static str, &'static str)] = &[
        ("max_connections", "64"),
        ("output_max", "16MiB"),
        ("handshake_timeout", "10s"),
        ("idle_timeout", "60s"),
    ];
    const INAPPLICABLE: &'static [Inapplicable] = &[inapplicable("heartbeat"), inapplicable("probe")];
    const LOCAL_ONLY: Option<LocalOnly> = Some(settings::LOCAL_ONLY);
    const OPENING: Option<Opening> = Some(Opening {
        foreign: Foreign::Http,
        title: "HTTP",
        signatures: http::SIGNATURES,
        advice: "HTTP is spoken by the admin interface only: see [admin]",
    });
    const FULL: Option<fn(&mut Vec<u8>)> = Some(|out| Rejected::FULL.write(out));

    type Encoding = Infallible;
    type Session = Infallible;

    fn access(own: &Values) -> Access {
        settings::access(own)
    }

    fn to_try(at: Reached<'_>) -> Vec<String> {
        vec![match at {
            Reached::Unix(path) => format!("curl --unix-socket {path} http://linger/metrics"),
            Reached::Tcp { host, port } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                format!("curl http://{}:{port}/connections", host.replace('%', "%25"))
            }
        }]
    }
}

const fn inapplicable(key: &'static str) -> Inapplicable {
    let wrong = "does not apply to the admin interface";
    Inapplicable { key, values: &[], wrong, right: "it is for [defaults] and [[listener]]" }
}

/// Connections at once of an interface that names no number.
pub const PLACES: u32 = 64;
/// Places beyond those, for who asks whether the server is well. A supervisor of processes and a balancer of load each
/// ask one question at a time.
pub const RESERVE: u32 = 4;

/// What a request is for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Route {
    /// What there is to ask.
    Index,
    /// The page for browsers. What it shows it asks for.
    Page,
    /// Whether the server runs.
    Health,
    /// What only the server knows.
    Asked(Asked),
}

/// What is asked of the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Whether it serves newcomers.
    Ready,
    /// The metrics.
    Metrics,
    /// What the last audit found.
    Audit,
    /// A list of connections.
    Connections(ListQuery),
    /// A list of the last endings.
    Ends(Box<EndsQuery>),
    /// What happens from now on.
    Events(EventsQuery),
    /// A connection of that name is to be ended.
    End(String),
    /// Many connections are to be ended, or no more of them.
    EndMany(EndMany),
    /// A connection of that name, a gateway's client, is to get an identity.
    Name(String, String),
    /// The upstream servers, and how they are.
    Upstreams,
    /// The operator's word about one of them.
    Word(Spoken),
}

impl Route {
    /// Whether it is answered also where all places are taken: a supervisor must not take the server for dead because
    /// others ask much.
    const fn is_vital(&self) -> bool {
        matches!(self, Self::Health | Self::Asked(Asked::Ready))
    }

    /// Whether it is answered also to who brings no token. Whether the server is well is no secret: what asks that, and
    /// often, need not have one. The page is the same for everybody, and asks for the token itself.
    const fn is_public(&self) -> bool {
        self.is_vital() || matches!(self, Self::Page)
    }
}

impl Asked {
    /// Whether the answer is produced as it is taken.
    const fn is_long(&self) -> bool {
        matches!(self, Self::Metrics | Self::Connections(_) | Self::Ends(_) | Self::Events(_))
    }

    /// The response but for its body, if it is well.
    fn head(&self) -> Response<'static> {
        match self {
            Self::Ready | Self::End(_) | Self::EndMany(_) | Self::Name(..) | Self::Word(_) => {
                Response::text(Status::Ok, "")
            }
            Self::Metrics => Response::metrics(""),
            Self::Events(_) => Response::events(),
            Self::Audit | Self::Connections(_) | Self::Ends(_) | Self::Upstreams => {
                Response::json(Status::Ok, "")
            }
        }
    }
}

/// Whose admin interface it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Serves {
    /// One process.
    One,
    /// The supervisor of several workers.
    Several,
}

/// Who is answered: what a listener has for that.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    /// Names in a request's Host header that are answered.
    pub hosts: &'a Hosts,
    /// What a request has to bring. None: nothing.
    pub token: Option<&'a Token>,
    /// It speaks TLS.
    pub tls: bool,
}

impl Door<'_> {
    /// Everybody is.
    pub const OPEN: Self = Self { hosts: &Hosts::Any, token: None, tls: false };

    /// Understands a request, if it is to be answered.
    fn admit(self, request: &Request, serves: Serves) -> Result<Route, Response<'static>> {
        let routed = route(request, self.hosts, serves);
        if !self.trusts_sender(request) {
            let text = "requests from web pages of other sites are refused\n";
            // To whom nothing is answered, it is not told either what there is.
            return match routed {
                Err(refused) if refused.status == Status::Misdirected => Err(refused),
                Ok(_) | Err(_) => Err(Response::text(Status::Forbidden, text)),
            };
        }
        let is_public = routed.as_ref().is_ok_and(Route::is_public);
        if is_public || self.token.is_none_or(|token| token.is_in(request.authorization.as_deref())) {
            return routed;
        }
        let text =
            "this interface wants a token: Authorization: Bearer TOKEN, with that of admin.token_file\n";
        Err(Response::text(Status::Unauthorized, text))
    }
}

/// What there is to ask: how, what one process answers, and what the supervisor of several does.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET  /", "this text; a page, for browsers", "this text; a page, for browsers"),
    ("GET  /metrics", "Prometheus text", "Prometheus text; the sum of all workers"),
    ("GET  /healthz", "200 while the loop turns", "200 while the supervisor runs"),
    (
        "GET  /readyz",
        "503 while draining or unable to accept",
        "503 while a worker drains, cannot accept, or does not answer",
    ),
    (
        "GET  /connections",
        "JSON; ?listener= &state= &identity= &peer= &key= &age_over= &clients=true &limit=",
        "JSON; of all workers; ?listener= &state= &identity= &peer= &key= &age_over= &clients=true &limit=",
    ),
    (
        "GET  /ends",
        "JSON; the last endings, newest first; ?reason=lost.* &last=1h &listener= &identity= &peer= &key= &pair= &limit= \
         &before= &after=",
        "JSON; the last endings, newest first, of all workers; ?reason=lost.* &last=1h &listener= &identity= &peer= &key= \
         &pair= &limit= &before= &after=",
    ),
    (
        "GET  /events",
        "what happens, as it happens (Server-Sent Events); ?event=ended,suspect &reason= &listener= &identity= &peer= &key= \
         &after=",
        "what happens at all workers, as it happens (Server-Sent Events); ?event=ended,suspect &reason= &listener= &identity= \
         &peer= &key= &after=",
    ),
    ("GET  /audit", "JSON; the last audit of the kernel's sockets", "JSON; the last audit of each worker"),
    (
        "POST /connections/{key}/end",
        "ends one connection; the key is from the list",
        "ends one connection; the key is from the list",
    ),
    (
        "POST /connections/end",
        "ends many; ?listener= &state= &identity= &peer= &age_over=1h, or all=true; &over=60s spreads them; ?stop=true",
        "ends many, at all workers; ?listener= &state= &identity= &peer= &age_over=1h, or all=true; &over=60s spreads them; \
         ?stop=true",
    ),
    (
        "POST /connections/{key}/identity",
        "gives a gateway's client the identity ?id=",
        "gives a gateway's client the identity ?id=",
    ),
    (
        "GET  /upstreams",
        "JSON; the upstream servers, and how they are",
        "JSON; the upstream servers, and how they are to all workers",
    ),
    (
        "POST /upstreams/{name}/{server}",
        "?state=ready, drain or down: whether it gets connections",
        "?state=ready, drain or down: whether it gets connections of any worker",
    ),
];

/// What there is to ask, for people.
fn index(serves: Serves) -> String {
    let mut text = String::from(match serves {
        Serves::One => "linger admin interface\n\n",
        Serves::Several => "linger admin interface, of a server with several workers\n\n",
    });
    for (path, one, several) in ROUTES {
        let what = if serves == Serves::One { one } else { several };
        text.extend([&format!("{path:<36}"), *what, "\n"]);
    }
    text
}

/// Understands a request.
///
/// # Errors
/// The answer to a request that is refused.
fn route(request: &Request, hosts: &Hosts, serves: Serves) -> Result<Route, Response<'static>> {
    // A web page that has its name resolve to this host can make a browser send requests here. What it cannot do is use
    // another name for that.
    if !answers_to(hosts, &request.host) {
        let text = format!(
            "this is not {:?}: use an IP address, localhost or a name of admin.hosts\n",
            request.host
        );
        return Err(Response::text(Status::Misdirected, text));
    }
    let not_allowed = |text: &'static str| Err(Response::text(Status::MethodNotAllowed, text));
    let reading = matches!(request.method, Method::Get | Method::Head);
    match (reading, request.path.as_str()) {
        (true, "/") => Ok(if request.accepts_html { Route::Page } else { Route::Index }),
        (true, "/healthz") => Ok(Route::Health),
        (true, "/readyz") => Ok(Route::Asked(Asked::Ready)),
        (true, "/metrics") => Ok(Route::Asked(Asked::Metrics)),
        (true, "/audit") => Ok(Route::Asked(Asked::Audit)),
        (true, "/connections") => {
            ListQuery::read(request).map(|query| Route::Asked(Asked::Connections(query)))
        }
        (true, "/ends") => {
            EndsQuery::read(request, serves).map(|query| Route::Asked(Asked::Ends(Box::new(query))))
        }
        (true, "/events") => {
            EventsQuery::read(request, serves).map(|query| Route::Asked(Asked::Events(query)))
        }
        (false, "/connections/end") => EndMany::read(request).map(|many| Route::Asked(Asked::EndMany(many))),
        (false, path) if path.starts_with("/connections/") => match action(path) {
            Some((name, "end")) => Ok(Route::Asked(Asked::End(name.to_owned()))),
            Some((name, "identity")) => {
                identity_of(request).map(|id| Route::Asked(Asked::Name(name.to_owned(), id)))
            }
            Some(_) | None => Err(no_such(path, serves)),
        },
        (true, "/upstreams") => Ok(Route::Asked(Asked::Upstreams)),
        (false, path) if path.starts_with("/upstreams/") => match server_of(path) {
            Some((upstream, address)) => {
                let spoken = Spoken {
                    upstream: upstream.to_owned(),
                    server: address.to_owned(),
                    word: word_of(request)?,
                };
                Ok(Route::Asked(Asked::Word(spoken)))
            }
            None => Err(no_such(path, serves)),
        },
        (
            _,
            "/" | "/metrics" | "/healthz" | "/readyz" | "/connections" | "/ends" | "/events" | "/audit"
            | "/upstreams",
        ) => not_allowed("this path is for reading: use GET\n"),
        (true, path) if path.starts_with("/connections/") => {
            not_allowed("what is done to a connection is an action: use POST\n")
        }
        (true, path) if path.starts_with("/upstreams/") => {
            not_allowed("saying how a server is to be is an action: use POST\n")
        }
        (_, path) => Err(no_such(path, serves)),
    }
}

/// The connection that a path is about, and what is to be done to it.
fn action(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/connections/")?.rsplit_once('/')
}

/// The identity that a request gives.
fn identity_of(request: &Request) -> Result<String, Response<'static>> {
    let given = request.query_value("id").and_then(|id| Identity::new(id.as_bytes()));
    given.map(|id| id.as_str().to_owned()).ok_or_else(|| {
        let text = "want ?id=, an identity: 1 to 128 bytes of UTF-8 without blanks and control characters\n";
        Response::text(Status::BadRequest, text)
    })
}

fn no_such(path: &str, serves: Serves) -> Response<'static> {
    Response::text(Status::NotFound, format!("no such path: {path}\n\n{}", index(serves)))
}

/// What is answered to who wants a connection ended by what is no name of one.
pub fn no_name(name: &str, serves: Serves) -> Response<'static> {
    let text = match serves {
        Serves::One => format!("{name:?} is not a key: it has the form 17-4711, as /connections lists it\n"),
        Serves::Several => format!(
            "{name:?} names no connection of a worker: it has the form 2.17-4711, the number of its worker first, as \
             /connections lists it\n"
        ),
    };
    Response::text(Status::BadRequest, text)
}

/// What is answered where all places are taken, to everything but [`Route::is_vital`].
fn crowded() -> Response<'static> {
    let text =
        "all connections of this interface are busy, and only /healthz and /readyz are answered; ask again\n";
    Response::text(Status::Unavailable, text)
}

/// How many rows a list is to have at most, if it is asked for by parameters that it knows.
fn limit_of(request: &Request, known: &[&str]) -> Result<usize, Response<'static>> {
    check_known(request, known)?;
    match request.query_value("limit").map(str::parse) {
        None => Ok(LIST_DEFAULT),
        Some(Ok(limit)) if limit <= LIST_MAX => Ok(limit),
        Some(_) => {
            Err(Response::text(Status::BadRequest, format!("limit must be a number up to {LIST_MAX}\n")))
        }
    }
}

/// A parameter that is a time, as the example is.
fn time_of(request: &Request, name: &str, example: &str) -> Result<Option<Duration>, Response<'static>> {
    let time = request.query_value(name).map(|text| {
        parse_some_time(text).map_err(|why| {
            let text = format!("{name} must be a time, as {example}: {text:?} {why}\n");
            Response::text(Status::BadRequest, text)
        })
    });
    time.transpose()
}

/// Refuses parameters that are not known.
fn check_known(request: &Request, known: &[&str]) -> Result<(), Response<'static>> {
    let unknown = request.query.iter().find(|(name, _)| !known.contains(&name.as_str()));
    unknown.map_or(Ok(()), |(unknown, _)| {
        let text = format!("unknown parameter {unknown}: known are {}\n", known.join(", "));
        Err(Response::text(Status::BadRequest, text))
    })
}
