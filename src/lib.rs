//! linger: the connection server that knows when and why every client left, and always closes last.

pub mod buf;
pub mod cli;
pub mod config;
pub mod conn;
pub mod end;
pub mod hub;
pub mod logging;
pub mod metrics;
pub mod net;
pub mod proto;
pub mod reactor;
pub mod report;
pub mod serve;
pub mod sys;
pub mod table;
pub mod time;
pub mod timer;
