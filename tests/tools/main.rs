//! The commands beside `serve`, as a user runs them.

#[path = "../common/mod.rs"]
mod common;

mod cli;
mod lab;
mod load;
mod output;
