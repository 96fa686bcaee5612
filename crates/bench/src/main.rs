//! The programs that the benches run: the same one under Outcore, under the kernel's
//! swap, and in plain memory. Each prints one JSON object a line.

mod blocks;
mod cold;
mod device;
mod fault_rows;
mod fit;
mod malloc;
mod mmap;
mod phase;
mod shared;
mod sort;
mod sparse;
mod swap;
mod tree;

use clap::{Parser, Subcommand};
use measure::{memory, numbers};
use std::path::PathBuf;
use std::process::ExitCode;

/// What the benches measure.
#[derive(Parser)]
struct CommandLine {
    #[command(subcommand)]
    program: Program,
}

#[derive(Subcommand)]
enum Program {
    /// Fill memory, scan it, touch it at random
    Swap(swap::Options),
    /// Sort random integers in place with two threads
    Sort {
        /// MiB to sort
        #[arg(long)]
        mib: usize,
        /// Sort in a shared mapping of this file in place of memory
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Work in memory that fits: small objects, then arrays
    Fit {
        /// MiB to use at most
        #[arg(long)]
        mib: usize,
    },
    /// What one fault costs, kind by kind
    Faults {
        /// MiB of data, more than the budget
        #[arg(long)]
        mib: usize,
    },
    /// Touch pages far apart
    Sparse {
        /// GiB of address space that they are spread over
        #[arg(long)]
        gib: usize,
    },
    /// What freeing and churning costs that is not in memory
    Cold {
        /// MiB of objects
        #[arg(long)]
        mib: usize,
        /// Objects touched, and then churned
        #[arg(long, default_value_t = 50_000)]
        touches: usize,
    },
    /// Processes that share one budget
    Tree(tree::Options),
    /// What malloc and free cost
    Malloc(malloc::Options),
    /// Use a file that is larger than memory by a map of it
    Mmap(mmap::Options),
    /// Fill memory that another process then reads
    Shared(shared::Options),
    /// What the disk under a directory gives with O_DIRECT
    Device {
        /// Where a file is made
        #[arg(long)]
        dir: PathBuf,
        /// Its size
        #[arg(long)]
        mib: usize,
    },
}

fn main() -> ExitCode {
    let done = match CommandLine::parse().program {
        Program::Swap(options) => swap::run(&options),
        Program::Sort { mib, file } => sort::run(mib, file.as_deref()),
        Program::Fit { mib } => {
            fit::run(mib);
            Ok(())
        }
        Program::Faults { mib } => fault_rows::run(mib),
        Program::Sparse { gib } => sparse::run(gib),
        Program::Cold { mib, touches } => {
            cold::run(mib, touches);
            Ok(())
        }
        Program::Tree(options) => tree::run(&options).map_err(std::io::Error::other),
        Program::Malloc(options) => {
            malloc::run(&options);
            Ok(())
        }
        Program::Mmap(options) => mmap::run(&options),
        Program::Shared(options) => {
            shared::run(&options).map_err(|error| std::io::Error::other(error.to_string()))
        }
        Program::Device { dir, mib } => device::run(&dir, mib),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("outcore-workload: {error}");
            ExitCode::FAILURE
        }
    }
}
