//! The project's own automation, and its one door: `cargo xtask …`.
//!
//! Everything a person or a machine does with this repository beyond writing code is a command
//! here, so that there is one way to do it: [`demo`] shows the product, [`test`] says whether the
//! tree is good, [`check`] holds the rules that a compiler does not know, [`generate`] writes the
//! files that are made from others, [`bench`] measures, [`nightly`] is what takes too long for
//! every day.
//!
//! Nothing here installs or compiles a tool on the way; what is missing is named, with what to do
//! about it. The one exception are the validators that tests compare our formats with: [`tools`]
//! keeps them in a Python environment under the target directory.

mod bench;
mod check;
mod demo;
mod generate;
mod machine;
mod nightly;
mod process;
mod say;
mod stages;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Arg, ArgMatches, Command, value_parser};

fn command() -> Command {
    let rest = Arg::new("rest")
        .help("Passed on to `matrix demo`")
        .num_args(0..)
        .trailing_var_arg(true)
        .allow_hyphen_values(true);
    let name = Arg::new("name")
        .help("What to measure")
        .required(true)
        .value_parser(value_parser!(bench::Name));
    let rounds = Arg::new("rounds")
        .long("rounds")
        .help("How many times each command is measured")
        .value_parser(value_parser!(usize));
    let bench = command_of("bench", "Measure, beside a peer doing the same");
    Command::new("cargo xtask")
        .bin_name("cargo xtask")
        .about("The project's own automation")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            command_of(
                "demo",
                "Build Matrix and take an example repository from a plan to a signed release",
            )
            .arg(rest),
            command_of(
                "test",
                "Say whether the tree is good: format, rules, lints and every test",
            ),
            command_of("check", "Check the rules that the compiler does not know"),
            command_of("generate", "Write the files that are made from others"),
            bench.arg(name).arg(rounds),
            command_of(
                "nightly",
                "Run what takes too long for every day: many more cases, soak tests, benchmarks",
            ),
        ])
}

fn command_of(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about)
}

fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match matches.subcommand() {
        Some(("demo", given)) => {
            let rest: Vec<String> = given
                .get_many("rest")
                .map(|words| words.cloned().collect())
                .unwrap_or_default();
            demo::run(&rest).map(done)
        }
        Some(("test", _)) => Ok(test::run()),
        Some(("check", _)) => check::run().map(done),
        Some(("generate", _)) => generate::run().map(done),
        Some(("nightly", _)) => nightly::run().map(done),
        Some(("bench", given)) => {
            let name: Option<&bench::Name> = given.get_one("name");
            let rounds: Option<&usize> = given.get_one("rounds");
            match name {
                Some(name) => bench::run(*name, rounds.copied()).map(done),
                None => Ok(ExitCode::from(2)),
            }
        }
        _ => Ok(ExitCode::from(2)),
    }
}

fn main() -> ExitCode {
    run(&command().get_matches()).unwrap_or_else(|error| {
        say::error(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn what_follows_demo_is_passed_on() {
        let words = ["cargo xtask", "demo", "--data-dir", "x", "--json"];
        let matches = command().try_get_matches_from(words).unwrap();
        let given = matches.subcommand_matches("demo").unwrap();
        let rest: Vec<&String> = given.get_many("rest").unwrap().collect();
        assert_eq!(rest, ["--data-dir", "x", "--json"]);
    }

    #[test]
    fn only_what_can_be_measured_is_accepted() {
        let parse = |name| command().try_get_matches_from(["cargo xtask", "bench", name]);
        for name in ["sandbox", "verify", "cli", "change"] {
            assert!(parse(name).is_ok(), "{name}");
        }
        assert!(parse("everything").is_err());
    }
}
