//! `linger audit`: any server on this host, judged by the kernel's table of sockets, pure. [`survey`](mod@survey) finds
//! what is wrong, [`peers`] whose silent connections are likely ghosts, [`clients`] what programs have not closed that
//! connected themselves; [`explain`] says it in sentences ([`chinese`] in Chinese), [`changes`] what is news since the last look. What can be
//! wrong is [`Anomaly`](crate::observe::audit::Anomaly).

pub mod case;
pub mod changes;
pub mod chinese;
pub mod clients;
pub mod explain;
pub mod peers;
pub mod survey;
