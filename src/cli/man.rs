//! `linger man`: the pages of the manual, made from the definition of the command line.

use super::{Cli, console, failure, print, usage_mistake};
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  linger man user add | man -l -
  linger man serve > linger-serve.1
  linger man --all /usr/local/share/man/man1";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The command it is about; linger itself if there is none
    command: Vec<String>,
    /// Write the pages of all commands into this directory
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "command")]
    all: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    // `help` is what the pages are.
    let mut root = Cli::command().propagate_version(true).disable_help_subcommand(true);
    root.build();
    if let Some(directory) = &arguments.all {
        return match write_all(&root, directory) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                console::err(format_args!("linger: man: {}: {error}", directory.display()));
                ExitCode::FAILURE
            }
        };
    }
    let mut of = &root;
    for name in &arguments.command {
        let Some(command) = shown(of).find(|command| command.get_name() == name) else {
            console::err(format_args!("linger: man: {name} is not a command; {}", there_are(of)));
            return usage_mistake();
        };
        of = command;
    }
    let mut roff = Vec::new();
    match page(of).render(&mut roff) {
        Ok(()) => print(&roff),
        Err(error) => failure(&error),
    }
}

fn page(command: &Command) -> Man {
    // A page without a date: what stands behind it would take its place, were it nothing at all.
    let date = "\"\"";
    Man::new(command.clone())
        .date(date)
        .source(concat!("linger ", env!("CARGO_PKG_VERSION")))
        .manual("linger")
}

fn write_all(command: &Command, directory: &Path) -> io::Result<()> {
    page(command).generate_to(directory)?;
    shown(command).try_for_each(|command| write_all(command, directory))
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set())
}

fn there_are(command: &Command) -> String {
    let names: Vec<&str> = shown(command).map(Command::get_name).collect();
    match names[..] {
        [] => format!("{} has none", command.get_display_name().unwrap_or_else(|| command.get_name())),
        _ => format!("they are {}", names.join(", ")),
    }
}
