//! What a machine is built from, on the command line, and the script that it carries out.

use crate::size;
use crate::trouble::Trouble;
use ::machine::script::{self, Line};
use ::machine::{Settings, Writeback};
use clap::Args;
use pager::{Commit, PolicyKind};
use std::fs;
use std::path::{Path, PathBuf};

/// What a machine is built from.
#[derive(Args, Debug)]
pub(crate) struct MachineOptions {
    /// Frames of memory, one of which holds zeros
    #[arg(long, value_name = "N", default_value_t = 4)]
    frames: u64,

    /// Swap slots
    #[arg(long, value_name = "N", default_value_t = 256)]
    slots: u64,

    /// Bytes in a page: a power of two from 512
    #[arg(long, value_name = "SIZE", default_value = "64K", value_parser = bytes)]
    page: u64,

    /// Bytes of the arena
    #[arg(long, value_name = "SIZE", default_value = "16M", value_parser = bytes)]
    arena: u64,

    /// The arena's first address
    #[arg(long, value_name = "ADDR", default_value = "0x600000000", value_parser = address)]
    base: u64,

    /// Who chooses what leaves memory
    #[arg(long, value_name = "POLICY", default_value_t = PolicyKind::Clock)]
    policy: PolicyKind,

    /// When slots are set aside: strict (when memory is promised) or lazy (when a page leaves)
    #[arg(long, value_name = "strict|lazy", default_value = "strict", value_parser = commit)]
    commit: Commit,

    /// When mapped files are written: exit (also when their mapping ends) or evict (only then)
    #[arg(long, value_name = "exit|evict", default_value = "exit", value_parser = writeback)]
    writeback: Writeback,

    /// Bytes below the stack pointer that a program may touch: 32, or 128 for the red zone
    #[arg(long, value_name = "BYTES", default_value_t = 32)]
    stack_slack: u64,

    /// Bytes that a stack may have
    #[arg(long, value_name = "SIZE", default_value = "8M", value_parser = bytes)]
    stack_max: u64,

    /// What things take in virtual time: a file that 'outcore bench faults --fit' has written
    #[arg(long, value_name = "FILE")]
    costs: Option<PathBuf>,

    /// The directory of the files that scripts name
    #[arg(long, value_name = "DIR", default_value = ".")]
    files: PathBuf,
}

fn bytes(text: &str) -> Result<u64, String> {
    size::parse(text).map_err(|error| error.to_string())
}

fn address(text: &str) -> Result<u64, String> {
    let number = text.strip_prefix("0x").map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16));
    number.map_err(|_| "is not an address; write a number, or one in hexadecimal with 0x".into())
}

fn commit(text: &str) -> Result<Commit, String> {
    match text {
        "strict" => Ok(Commit::Strict),
        "lazy" => Ok(Commit::Lazy),
        _ => Err("write strict or lazy".into()),
    }
}

fn writeback(text: &str) -> Result<Writeback, String> {
    match text {
        "exit" => Ok(Writeback::Exit),
        "evict" => Ok(Writeback::Evict),
        _ => Err("write exit or evict".into()),
    }
}

impl MachineOptions {
    /// The settings that they stand for.
    ///
    /// # Errors
    /// A directory that is not there, or costs that make no sense. What else is impossible is found when the machine is built.
    pub(crate) fn settings(&self) -> Result<Settings, Trouble> {
        if !self.files.is_dir() {
            let directory = self.files.display();
            return Err(Trouble::bad_input(format!("--files {directory}: there is no such directory")));
        }
        let mut settings = Settings {
            frames: self.frames,
            slots: self.slots,
            page_size: self.page,
            arena: self.arena,
            base: self.base,
            policy: self.policy,
            commit: self.commit,
            writeback: self.writeback,
            files: self.files.clone(),
            ..Settings::default()
        };
        if let Some(path) = &self.costs {
            settings.costs = crate::bench::read_costs(path)?;
        }
        settings.stack.slack = self.stack_slack;
        settings.stack.most = self.stack_max;
        Ok(settings)
    }
}

/// Reads and parses a script.
///
/// # Errors
/// A file that cannot be read, or the line and column of a mistake.
pub(crate) fn read_script(path: &Path) -> Result<Vec<Line>, Trouble> {
    let name = path.display();
    let text = fs::read(path).map_err(|error| Trouble::bad_input(format!("{name}: {error}")))?;
    script::parse(&text).map_err(|error| Trouble::bad_input(format!("{name}:{error}")))
}
