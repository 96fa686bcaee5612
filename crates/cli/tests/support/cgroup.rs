//! Control groups of the tests' own, of the version that the machine has.

use super::{Paged, compile, finish};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The root of version 1's memory controller.
const V1: &str = "/sys/fs/cgroup/memory";
/// Where version 2 is mounted alone, and where beside version 1.
const V2: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// A group, removed when dropped.
pub(crate) struct Cgroup {
    dir: PathBuf,
    limit: &'static str,
    /// Beside version 1, the group of version 2 whose processes are the same, so that no pressure but
    /// theirs counts; none where there is none.
    beside: Option<PathBuf>,
}

impl Cgroup {
    /// One that allows `bytes` of memory; none without root or without a memory controller.
    pub(crate) fn new(bytes: u64) -> Option<Self> {
        if !Path::new(V1).join("cgroup.procs").exists() {
            return Self::limited(V2[0], "memory.max", bytes);
        }
        let mut group = Self::limited(V1, "memory.limit_in_bytes", bytes)?;
        group.beside = V2.into_iter().find_map(|root| {
            let beside = Path::new(root).join(group.dir.file_name()?);
            (Path::new(root).join("memory.pressure").exists() && fs::create_dir(&beside).is_ok())
                .then_some(beside)
        });
        Some(group)
    }

    /// One in `root` with `bytes` in the file `limit`.
    fn limited(root: &str, limit: &'static str, bytes: u64) -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let root = Path::new(root);
        // Needed in version 2, unknown in version 1.
        let _ = fs::write(root.join("cgroup.subtree_control"), "+memory");
        let number = MADE.fetch_add(1, Relaxed);
        let dir = root.join(format!("outcore-test-{}-{number}", std::process::id()));
        fs::create_dir(&dir).ok()?;
        let group = Self { dir, limit, beside: None };
        fs::write(group.dir.join(limit), bytes.to_string()).ok()?;
        Some(group)
    }

    /// Allows `bytes` from now on.
    pub(crate) fn limit(&self, bytes: u64) {
        fs::write(self.dir.join(self.limit), bytes.to_string()).unwrap();
    }

    /// Whoever writes its number to each is in the group.
    pub(crate) fn processes(&self) -> Vec<PathBuf> {
        [Some(&self.dir), self.beside.as_ref()]
            .into_iter()
            .flatten()
            .map(|dir| dir.join("cgroup.procs"))
            .collect()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for dir in [Some(&self.dir), self.beside.as_ref()].into_iter().flatten() {
            // A pager ends an instant after its program.
            for _ in 0..100 {
                if fs::remove_dir(dir).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
        }
    }
}

/// Two places for processes: who waits for memory in the tight one is pressure for the wide one,
/// whose own limit it does not come near.
pub(crate) struct Pressed {
    pub(crate) wide: Vec<PathBuf>,
    tight: Vec<PathBuf>,
    /// How a program comes to wait for memory in the tight one.
    how: &'static [&'static str],
    _groups: Vec<Cgroup>,
}

impl Pressed {
    /// None without root, memory controller or pressure (PSI).
    pub(crate) fn new() -> Option<Self> {
        const WIDE: u64 = 1200 << 20;
        const TIGHT: u64 = 16 << 20;
        if Path::new(V1).exists() {
            // The pressure is that of the group beside the wide one, with both in it.
            let (wide, tight) = (Cgroup::new(WIDE)?, Cgroup::limited(V1, "memory.limit_in_bytes", TIGHT)?);
            let beside = wide.beside.as_ref()?.join("cgroup.procs");
            return Some(Self {
                wide: wide.processes(),
                tight: tight.processes().into_iter().chain([beside]).collect(),
                how: &["write", "/var/tmp", "64"],
                _groups: vec![wide, tight],
            });
        }
        // Only the root may have processes as well as groups with limits.
        let root = Path::new(V2[0]);
        let tight =
            root.join("memory.pressure").exists().then(|| Cgroup::limited(V2[0], "memory.high", TIGHT))??;
        Some(Self {
            wide: vec![root.join("cgroup.procs")],
            tight: tight.processes(),
            how: &["grow"],
            _groups: vec![tight],
        })
    }

    /// Starts a program that waits for memory in the tight place until it is killed.
    pub(crate) fn wait_there(&self) -> Child {
        inside(&self.tight, &compile("thrash.c")).args(self.how).spawn().unwrap()
    }
}

/// `program`, in the groups with these files of processes.
pub(crate) fn inside(groups: &[PathBuf], program: &str) -> Command {
    let join: String = (0..groups.len()).map(|_| "echo $$ > \"$1\" && shift && ").collect();
    let mut command = Command::new("sh");
    command.arg("-c").arg(join + "exec \"$@\"").arg("sh").args(groups).arg(program);
    command.env_remove("TMPDIR").env_remove("LD_PRELOAD");
    command
}

/// [`paged`](super::paged) inside of `group`: Outcore's supervisor and files count against it as well.
pub(crate) fn finish_in(group: &Cgroup, ram: u64, program: &[&str]) -> Paged {
    assert!(fs::read_to_string("/proc/swaps").unwrap().lines().count() <= 1, "swap is to be off");
    let command = inside(&group.processes(), env!("CARGO_BIN_EXE_outcore"));
    finish(command, ram, &[], program)
}
