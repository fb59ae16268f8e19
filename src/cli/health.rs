//! `linger health`: whether a running server is well, as an exit status. It is the health check of a container that has nothing but
//! this program in it, and of whatever else can run a command and not send a request.

use super::admin::{AdminArgs, failed};
use super::print;
use crate::sys::admin_client::Answer;
use clap::Args;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger health
  linger health --ready --admin unix:/run/linger/admin.sock

Exit codes:
  0  it is
  1  it is not, or no answer came
  2  the command line has a mistake";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Whether it is ready for clients: not so before all its listeners are open, nor once it was told to stop
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match arguments.admin.ask("GET", if arguments.ready { "/readyz" } else { "/healthz" }) {
        Ok(Answer { status: 200, body }) => print(body.as_bytes()),
        Ok(answer) => failed(answer.body.trim_end()),
        Err(why) => failed(&why),
    }
}
