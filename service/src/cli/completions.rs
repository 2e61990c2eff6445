//! `anabranch completions`: scripts that let a shell complete commands and options.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Ended, print};
use crate::exit::Exit;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  anabranch completions bash > ~/.local/share/bash-completion/completions/anabranch
  anabranch completions zsh > \"${fpath[1]}/_anabranch\"
  anabranch completions fish > ~/.config/fish/completions/anabranch.fish")]
pub(crate) struct Args {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run<Cli: CommandFactory>(args: &Args) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "anabranch", &mut script);
    print::data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
