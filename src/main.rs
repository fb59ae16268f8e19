//! The binary: hands the command line to [`linger::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    linger::cli::run(std::env::args_os())
}
