//! The command line: which commands there are, and how each of them ends.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use crate::exit::{self, Exit, exit_codes};

mod check;
mod completions;
mod doctor;
mod eval;
mod explain;
mod flows;
mod health;
mod index;
mod jobs;
mod keys;
mod load;
mod mcp;
mod migrate;
mod operators;
mod print;
mod remote;
mod report;
mod route;
mod run;
mod schema;
mod search;
mod serve;
mod test;
mod top;
mod world;

/// What a command gives back: how the process ends, or why it cannot go on.
type Ended = Result<Exit, exit::Error>;

/// Runs Modular RAG flows: YAML graphs of retrieval and generation operators.
///
/// A flow is one file. `check` tells you everything that is wrong with it, `run` runs it on your documents and answers
/// with citations.
#[derive(Debug, Parser)]
#[command(
    name = "anabranch",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = concat!(
        "Examples:\n",
        "  anabranch run flows/quickstart.yaml -i question=\"What is a flow?\"\n",
        "  anabranch index ./notes --into notes\n",
        "  anabranch check flows/\n",
        "  anabranch serve\n",
        "  anabranch jobs submit quickstart -i question=\"What is a flow?\" --wait\n",
        "  anabranch explain FLOW0032\n\n",
        "Data goes to standard output, everything else to standard error. Colours are\n",
        "left out where the output is no terminal or NO_COLOR is set.\n\n",
        exit_codes!(),
    )
)]
struct Cli {
    /// Print nothing but the data and errors: no progress, no remarks.
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Check(check::Args),
    Explain(explain::Args),
    Test(test::Args),
    Eval(Box<eval::Args>),
    Index(index::Args),
    Search(search::Args),
    Jobs(Box<jobs::Args>),
    Flows(Box<flows::Args>),
    Keys(Box<keys::Args>),
    Top(top::Args),
    Doctor(doctor::Args),
    Serve(Box<serve::Args>),
    Mcp(mcp::Args),
    Health(health::Args),
    Worker(Box<serve::WorkerArgs>),
    Migrate(migrate::Args),
    Operators(operators::Args),
    Route(route::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

/// Runs the command line `args`, the program's name first.
pub(crate) fn main(args: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come this way too; they are data and go to standard output.
            let ok = !error.use_stderr();
            // Whoever closed the stream does not want to read it.
            drop(error.print());
            return if ok { Exit::Ok } else { Exit::Usage };
        }
    };
    print::set_quiet(cli.quiet);
    let ended = match cli.command {
        Command::Run(args) => wait(run::run(&args)),
        Command::Test(args) => wait(test::run(&args)),
        Command::Eval(args) => wait(eval::run(&args)),
        Command::Index(args) => wait(index::run(&args)),
        Command::Search(args) => wait(search::run(&args)),
        Command::Jobs(args) => wait(jobs::run(&args)),
        Command::Flows(args) => wait(flows::run(&args)),
        Command::Keys(args) => wait(keys::run(&args)),
        Command::Top(args) => wait(top::run(&args)),
        Command::Doctor(args) => wait(doctor::run(&args)),
        Command::Serve(args) => wait(serve::run(&args)),
        Command::Mcp(args) => wait(mcp::run(&args)),
        Command::Health(args) => wait(health::run(&args)),
        Command::Worker(args) => wait(serve::worker(&args)),
        Command::Migrate(args) => wait(migrate::run(&args)),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Operators(args) => operators::run(&args),
        Command::Route(args) => route::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Completions(args) => completions::run::<Cli>(&args),
    };
    match ended {
        Ok(exit) => exit,
        Err(error) => {
            print::error(&error);
            error.exit
        }
    }
}

/// Runs a command that waits for others: models, files, the user's Ctrl-C.
fn wait(command: impl Future<Output = Ended>) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| exit::Error::caused(Exit::Failed, "cannot start", &error))?;
    runtime.block_on(command)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_exit_codes_in_the_help_are_those_that_are_used() {
        let help = Cli::command().render_long_help().to_string();
        for exit in [
            Exit::Ok,
            Exit::Failed,
            Exit::Usage,
            Exit::Invalid,
            Exit::Unavailable,
            Exit::OverBudget,
            Exit::NotAllowed,
            Exit::Interrupted,
        ] {
            assert!(help.contains(&format!("  {}  ", exit.code())), "{exit:?}");
        }
    }
}
