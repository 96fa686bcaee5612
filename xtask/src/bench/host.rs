//! What a measurement changes on the machine, each put back when dropped.

use super::output;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The disk under a directory, with the same flags for every contender.
pub(crate) struct Disk {
    queue: Option<PathBuf>,
    before: Vec<(&'static str, String)>,
}

/// A disk that says it rotates gets other swap clusters, and large read-ahead favours
/// mapped files: neither is what is measured.
const FLAGS: [(&str, &str); 2] = [("rotational", "0"), ("read_ahead_kb", "128")];

impl Disk {
    pub(crate) fn under(dir: &Path) -> Result<Self, String> {
        let device = fs::metadata(dir).map_err(|error| format!("{}: {error}", dir.display()))?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let link = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        let queue = [link.join("queue"), link.join("../queue")].into_iter().find(|path| path.is_dir());
        let read = |queue: &Path, flag: &str| fs::read_to_string(queue.join(flag)).unwrap_or_default();
        let before =
            queue.iter().flat_map(|queue| FLAGS.map(|(flag, _)| (flag, read(queue, flag)))).collect();
        Ok(Self { queue, before })
    }

    /// Sets the flags, and says what they are now.
    pub(crate) fn settle(&self) -> String {
        let Some(queue) = &self.queue else { return "disk: no queue settings found".into() };
        for (flag, value) in FLAGS {
            if fs::write(queue.join(flag), value).is_err() {
                return format!("disk: {} cannot be set (not root?): left as it was", queue.display());
            }
        }
        format!("disk: {}", self.describe())
    }

    pub(crate) fn describe(&self) -> String {
        FLAGS.map(|(flag, value)| format!("{flag}={value}")).join(", ")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for (flag, value) in &self.before {
            if let Some(queue) = &self.queue {
                let _ = fs::write(queue.join(flag), value.trim());
            }
        }
    }
}

/// Swap space of the kernel's.
pub(crate) struct Swap {
    device: PathBuf,
    file: bool,
}

impl Swap {
    /// A swap file of `mib` in `dir`.
    pub(crate) fn file(dir: &Path, mib: usize) -> Result<Self, String> {
        let path = dir.join(format!("outcore-bench-swap-{}", std::process::id()));
        let swap = Self { device: path.clone(), file: true };
        output(Command::new("fallocate").arg("-l").arg(format!("{mib}M")).arg(&path))?;
        output(Command::new("chmod").arg("600").arg(&path))?;
        swap.on()
    }

    /// Compressed memory of `mib`.
    pub(crate) fn zram(mib: usize) -> Result<Self, String> {
        let swap = Self { device: "/dev/zram0".into(), file: false };
        fs::write("/sys/block/zram0/disksize", format!("{mib}M"))
            .map_err(|error| format!("zram0 is in use or cannot be set: {error}"))?;
        swap.on()
    }

    fn on(self) -> Result<Self, String> {
        output(Command::new("mkswap").arg(&self.device))?;
        output(Command::new("swapon").arg(&self.device))?;
        Ok(self)
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let _ = Command::new("swapoff").arg(&self.device).output();
        let _ =
            if self.file { fs::remove_file(&self.device) } else { fs::write("/sys/block/zram0/reset", "1") };
    }
}

/// A memory cgroup with a limit, of the version that the machine has.
pub(crate) struct Cgroup {
    dir: PathBuf,
}

/// What programs have besides their data, in MiB: the cgroups of benches are larger by it.
pub(crate) const OWN: usize = 32;

const V1: &str = "/sys/fs/cgroup/memory";
const V2: &str = "/sys/fs/cgroup";

impl Cgroup {
    /// Why there can be none.
    pub(crate) fn refusal() -> Option<String> {
        let root = rustix::process::geteuid().is_root();
        match version() {
            _ if !root => Some("it needs root to limit memory and to add swap".into()),
            None => Some("there is no memory controller".into()),
            Some(_) => None,
        }
    }

    pub(crate) fn new(mib: usize) -> Result<Self, String> {
        let (root, limit) = match version() {
            Some(1) => (V1, "memory.limit_in_bytes"),
            _ => (V2, "memory.max"),
        };
        if root == V2 {
            let _ = fs::write(format!("{V2}/cgroup.subtree_control"), "+memory");
        }
        let dir = Path::new(root).join(format!("outcore-bench-{}", std::process::id()));
        fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let group = Self { dir };
        let path = group.dir.join(limit);
        fs::write(&path, format!("{}", mib << 20)).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(group)
    }

    /// `program`, started inside.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg("echo $$ > \"$0\" && exec \"$@\"")
            .arg(self.dir.join("cgroup.procs"))
            .arg(program);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // An arena's server ends a little after its last member.
        for _ in 0..100 {
            if fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn version() -> Option<u32> {
    if Path::new(V1).join("memory.limit_in_bytes").exists() {
        return Some(1);
    }
    let controllers = fs::read_to_string(format!("{V2}/cgroup.controllers")).ok()?;
    controllers.split_whitespace().any(|name| name == "memory").then_some(2)
}
