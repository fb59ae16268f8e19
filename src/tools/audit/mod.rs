//! `linger audit`: any server on this host, judged by the kernel's table of sockets, pure. [`survey`](mod@survey) finds
//! what is wrong, [`explain`] says it in sentences. What can be wrong is [`Anomaly`](crate::observe::audit::Anomaly).

pub mod explain;
pub mod survey;
