//! The kinds of memory that are compared.

use super::host::{Cgroup, Swap};
use super::results::Results;
use super::{Options, output};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How often a run is tried: the kernel's out-of-memory killer ends some of those in a
/// cgroup although there is swap to spare.
const TRIES: usize = 3;

/// The programs that are measured, built for it.
pub(crate) struct Programs {
    pub(super) outcore: PathBuf,
    workload: PathBuf,
}

impl Programs {
    pub(crate) fn build() -> Result<Self, String> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        output(Command::new(&cargo).args([
            "build",
            "--locked",
            "--release",
            "-p",
            "outcore",
            "-p",
            "bench",
        ]))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let release = Path::new(&target).join("release");
        Ok(Self { outcore: release.join("outcore"), workload: release.join("outcore-workload") })
    }

    /// What the disk can do.
    pub(crate) fn device(&self, options: &Options, results: &mut Results) -> Result<(), String> {
        let mut command = Command::new(&self.workload);
        command.args(["device", "--mib", &options.mib.to_string()]).arg("--dir").arg(&options.dir);
        results.add("device", &output(&mut command)?)
    }

    /// The sort in plain memory, and what fits its budget, without and with Outcore.
    pub(crate) fn in_ram(&self, options: &Options, results: &mut Results) -> Result<(), String> {
        let mib = (options.mib / 2).to_string();
        results.add("RAM", &output(Command::new(&self.workload).args(["sort", "--mib", &mib]))?)?;
        let fit = (options.ram / 2).to_string();
        results.add("RAM", &output(Command::new(&self.workload).args(["fit", "--mib", &fit]))?)?;
        let mut command = self.under_outcore(options.ram);
        results.add("Outcore", &output(command.args(["fit", "--mib", &fit]))?)
    }

    /// The workload alone; its arguments are to be added.
    pub(crate) fn native(&self) -> Command {
        Command::new(&self.workload)
    }

    /// The program that is measured.
    pub(super) fn workload(&self) -> &Path {
        &self.workload
    }

    /// The workload with so many MiB of RAM, and a library loaded before Outcore's; its
    /// arguments are to be added.
    pub(super) fn under_outcore_after(&self, ram: usize, library: &str) -> Command {
        let mut command = Command::new(&self.outcore);
        command.args(["run", "--report", "none", "--ram", &format!("{ram}M"), "--", "/bin/sh", "-c"]);
        command.arg("LD_PRELOAD=$0:$LD_PRELOAD exec \"$@\"").arg(library).arg(&self.workload);
        command
    }

    /// The workload with so many MiB of RAM; its arguments are to be added.
    pub(crate) fn under_outcore(&self, ram: usize) -> Command {
        let mut command = Command::new(&self.outcore);
        command.args(["run", "--report", "none", "--ram", &format!("{ram}M")]);
        command.arg("--").arg(&self.workload);
        command
    }
}

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Outcore,
    SwapFile,
    Zram,
    SharedFile,
}

impl Contender {
    pub(crate) const ALL: [Self; 4] = [Self::Outcore, Self::SwapFile, Self::Zram, Self::SharedFile];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Outcore => "Outcore",
            Self::SwapFile => "kernel swap file",
            Self::Zram => "kernel zram",
            Self::SharedFile => "shared file",
        }
    }

    /// Why it cannot be measured here.
    pub(crate) fn refusal(self) -> Option<String> {
        match self {
            Self::Outcore => None,
            Self::Zram if !Path::new("/sys/block/zram0").exists() => Some("there is no zram0".into()),
            _ => Cgroup::refusal(),
        }
    }

    /// Runs every program once.
    ///
    /// # Errors
    /// The memory could not be set up. A program that is killed is a result.
    pub(crate) fn run(
        self,
        programs: &Programs,
        options: &Options,
        results: &mut Results,
    ) -> Result<(), String> {
        // A touch on a file mapping costs so much that fewer say as much.
        let touches = if self == Self::SharedFile { options.touches / 10 } else { options.touches };
        self.measure(
            programs,
            options,
            results,
            options.ram,
            &["swap", "--mib", &options.mib.to_string(), "--touches", &touches.to_string()],
        )?;
        // Twice as tight as the data are large: what is asked of a sort.
        self.measure(
            programs,
            options,
            results,
            options.ram / 2,
            &["sort", "--mib", &(options.mib / 2).to_string()],
        )
    }

    fn measure(
        self,
        programs: &Programs,
        options: &Options,
        results: &mut Results,
        ram: usize,
        arguments: &[&str],
    ) -> Result<(), String> {
        let _swap = match self {
            Self::SwapFile => Some(Swap::file(&options.dir, 2 * options.mib)?),
            Self::Zram => Some(Swap::zram(2 * options.mib)?),
            Self::Outcore | Self::SharedFile => None,
        };
        let group = match self {
            Self::Outcore => None,
            _ => Some(Cgroup::new(ram)?),
        };
        let file = options.dir.join(format!("outcore-bench-map-{}", std::process::id()));
        for _ in 0..TRIES {
            let mut command = match &group {
                None => programs.under_outcore(ram),
                Some(group) => group.command(&programs.workload),
            };
            command.args(arguments);
            if self == Self::SharedFile {
                command.arg("--file").arg(&file);
            }
            let done = output(&mut command);
            if self == Self::SharedFile {
                let _ = std::fs::remove_file(&file);
            }
            match done {
                Ok(text) => {
                    results.finished(self.name(), arguments[0]);
                    return results.add(self.name(), &text);
                }
                Err(why) => results.failed(self.name(), arguments[0], &why),
            }
        }
        Ok(())
    }
}
