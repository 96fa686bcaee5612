//! `cargo xtask`: the chores of this workspace. `cargo xtask ci` checks
//! everything that a change must pass; continuous integration runs the same.

mod bench;
mod vm;

use clap::{Parser, Subcommand};
use std::env;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// The chores of this workspace.
#[derive(Parser)]
struct CommandLine {
    #[command(subcommand)]
    chore: Chore,
}

/// One chore.
#[derive(Subcommand)]
enum Chore {
    /// Check everything that a change must pass
    Ci,
    /// Run what threads share without a lock in every order that threads may take
    Loom,
    /// Measure, and compare
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Run a command of this machine on another kernel, with version 2 of control groups
    Vm(vm::Options),
}

/// One step of a chore: its name, cargo's arguments, and a variable to set.
struct Step {
    name: &'static str,
    arguments: &'static [&'static str],
    variable: Option<(&'static str, &'static str)>,
}

/// Cheap checks first, so that mistakes show early.
const CI: &[Step] = &[
    Step { name: "format", arguments: &["fmt", "--all", "--check"], variable: None },
    Step {
        name: "lints",
        arguments: &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"],
        variable: None,
    },
    Step { name: "release build", arguments: &["build", "--locked", "--release"], variable: None },
    Step { name: "tests", arguments: &["test", "--locked", "--workspace", "--all-targets"], variable: None },
    Step { name: "doc tests", arguments: &["test", "--locked", "--workspace", "--doc"], variable: None },
    Step {
        name: "documentation",
        arguments: &[
            "doc",
            "--locked",
            "--workspace",
            "--exclude=outcore-library",
            "--no-deps",
            "--document-private-items",
        ],
        variable: Some(("RUSTDOCFLAGS", "-D warnings")),
    },
    // Apart: it is named as the command is, and so would its pages be.
    Step {
        name: "library's documentation",
        arguments: &["doc", "--locked", "--package=outcore-library", "--no-deps", "--document-private-items"],
        variable: Some(("RUSTDOCFLAGS", "-D warnings")),
    },
    LOOM,
];

/// Apart from everything else that is built: the flag is seen by every crate.
const LOOM: Step = Step {
    name: "interleavings",
    arguments: &[
        "test",
        "--locked",
        "--release",
        "--target-dir=target/loom",
        "--package=sys",
        "--package=heap",
        "--lib",
        "loom",
    ],
    variable: Some(("RUSTFLAGS", "--cfg loom")),
};

fn main() -> ExitCode {
    match CommandLine::parse().chore {
        Chore::Ci => run(CI),
        Chore::Loom => run(&[LOOM]),
        Chore::Bench(bench) => bench::run(&bench),
        Chore::Vm(options) => vm::run(&options),
    }
}

/// Runs `steps` in order, up to the first that fails.
fn run(steps: &[Step]) -> ExitCode {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for (index, step) in steps.iter().enumerate() {
        let label = format!("step {} of {}: {}", index + 1, steps.len(), step.name);
        eprintln!("\n==> {label}: cargo {}", step.arguments.join(" "));
        let start = Instant::now();
        let mut command = Command::new(&cargo);
        command.args(step.arguments);
        if let Some((name, value)) = step.variable {
            command.env(name, value);
        }
        let failure = match command.status() {
            Ok(status) if status.success() => None,
            Ok(status) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(failure) = failure {
            eprintln!("\n==> FAILED: {label}: {failure}");
            return ExitCode::FAILURE;
        }
        eprintln!("==> {} passed in {:.0} s", step.name, start.elapsed().as_secs_f64());
    }
    eprintln!("\n==> all {} steps passed", steps.len());
    ExitCode::SUCCESS
}
