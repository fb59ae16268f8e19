//! The server on the real kernel, as its clients and its operator see it.

#[path = "../common/mod.rs"]
mod common;

mod accept;
mod admin;
mod audit;
mod blocked;
mod crowd;
mod delivery;
mod end_many;
mod events;
mod fairness;
mod first_process;
mod gateway;
mod goodbye;
mod hostile;
mod identity;
mod idle;
mod info;
mod liveness;
mod liveness_heartbeat;
mod operate;
mod packaged;
mod page;
mod proxied;
mod routes;
mod service;
mod smoke;
mod stalls;
mod startup;
mod tls;
mod unserved;
mod users;
mod why;
mod work;
mod workers;
