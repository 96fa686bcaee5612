//! Memory limits of the control groups around this process, version 1 and 2.
//!
//! A limit anywhere up the hierarchy binds, so every level is read, from the
//! process's own group to the root of the mount.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// One group that limits memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// What the group may use.
    pub(crate) limit_bytes: u64,
    /// What it uses, without the file pages that the kernel would drop first.
    pub(crate) used_bytes: u64,
}

impl Level {
    /// What the group has left.
    pub(crate) fn leaves(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }
}

/// The files of one version of control groups.
struct Files {
    /// Limits; the smallest binds.
    limits: &'static [&'static str],
    /// Bytes in use.
    usage: &'static str,
    /// The line of `memory.stat` with the file pages that would be dropped first.
    droppable: &'static str,
}

const V1: Files = Files {
    limits: &["memory.limit_in_bytes"],
    usage: "memory.usage_in_bytes",
    droppable: "total_inactive_file",
};

const V2: Files =
    Files { limits: &["memory.max", "memory.high"], usage: "memory.current", droppable: "inactive_file" };

/// Version 1 writes "no limit" as the largest multiple of a page; nothing real is as large.
const UNLIMITED: u64 = 1 << 60;

/// Every limit that binds this process; empty without cgroups or without limits.
pub(crate) fn limits() -> Vec<Level> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    limits_of(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
}

/// What tells when memory is short for this process: its group's pressure, else the machine's; none
/// where the kernel has no such (PSI).
pub(crate) fn pressure() -> Option<File> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = mounts
        .lines()
        .filter_map(Mount::parse)
        .filter(|mount| mount.files.usage == V2.usage)
        .find_map(|mount| Some(mount.directory(mount.group(&groups)?).join("memory.pressure")));
    own.into_iter().chain([PathBuf::from("/proc/pressure/memory")]).find_map(|path| {
        let mut file = File::options().read(true).write(true).open(path).ok()?;
        // A tenth of two seconds, the shortest window that is open to everybody.
        file.write_all(b"some 200000 2000000").ok()?;
        Some(file)
    })
}

/// [`limits`], of the group and the mounts in the two texts.
fn limits_of(groups: &str, mounts: &str) -> Vec<Level> {
    let mut levels = Vec::new();
    for mount in mounts.lines().filter_map(Mount::parse) {
        let Some(group) = mount.group(groups) else { continue };
        let bottom = mount.directory(group);
        for dir in bottom.ancestors().take_while(|dir| dir.starts_with(&mount.point)) {
            levels.extend(level(dir, mount.files));
        }
    }
    levels
}

/// The limit set in one directory, if any.
fn level(dir: &Path, files: &Files) -> Option<Level> {
    let read = |name: &str| fs::read_to_string(dir.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let limit_bytes = files.limits.iter().filter_map(|name| number(name)).min()?;
    if limit_bytes >= UNLIMITED {
        return None;
    }
    let stat = read("memory.stat").unwrap_or_default();
    let droppable = stat
        .lines()
        .find_map(|line| line.strip_prefix(files.droppable)?.trim().parse::<u64>().ok())
        .unwrap_or(0);
    let used_bytes = number(files.usage).unwrap_or(0).saturating_sub(droppable);
    Some(Level { limit_bytes, used_bytes })
}

/// A mounted hierarchy that can limit memory.
struct Mount {
    /// The group that is visible at the mount point.
    root: String,
    /// Where it is mounted.
    point: PathBuf,
    /// Its version's files.
    files: &'static Files,
}

impl Mount {
    /// Reads a line of `mountinfo`; none for anything else than cgroups with memory.
    fn parse(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let files = match (kind.next()?, kind.nth(1)?) {
            ("cgroup2", _) => &V2,
            ("cgroup", options) if options.split(',').any(|option| option == "memory") => &V1,
            _ => return None,
        };
        let mut place = place.split(' ').skip(3);
        Some(Self { root: place.next()?.to_owned(), point: place.next()?.into(), files })
    }

    /// Our group in this hierarchy, from the lines `id:controllers:path`.
    fn group<'a>(&self, groups: &'a str) -> Option<&'a str> {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let ours = if self.files.usage == V2.usage {
                controllers.is_empty()
            } else {
                controllers.split(',').any(|name| name == "memory")
            };
            ours.then_some(path)
        })
    }

    /// The directory of `group`. In a container the path may name groups that
    /// are not visible; then the mount point is the group nearest to us.
    fn directory(&self, group: &str) -> PathBuf {
        let below = if self.root == "/" { Some(group) } else { group.strip_prefix(self.root.as_str()) };
        let below = below.map(|path| path.trim_start_matches('/')).filter(|path| !path.starts_with(".."));
        let dir = below.map(|path| self.point.join(path)).filter(|dir| dir.is_dir());
        dir.unwrap_or_else(|| self.point.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn version_2_is_read_up_to_the_root() {
        let mount = tempfile::tempdir().unwrap();
        let (outer, inner) = (mount.path().join("outer"), mount.path().join("outer/inner"));
        write(&inner, &[("memory.max", "max\n"), ("memory.high", "max\n"), ("memory.current", "7\n")]);
        let stat = "anon 1\ninactive_file 100\nactive_file 5\n";
        write(&outer, &[("memory.max", "1000\n"), ("memory.current", "400\n"), ("memory.stat", stat)]);
        let mounts =
            format!("30 20 0:26 / {} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n", mount.path().display());
        let levels = limits_of("0::/outer/inner\n", &mounts);
        assert_eq!(levels, [Level { limit_bytes: 1000, used_bytes: 300 }]);
        assert_eq!(levels[0].leaves(), 700);
    }

    #[test]
    fn version_1_knows_no_limit_and_container_roots() {
        let mount = tempfile::tempdir().unwrap();
        write(
            mount.path(),
            &[("memory.limit_in_bytes", "5000\n"), ("memory.usage_in_bytes", "6000\n"), ("memory.stat", "")],
        );
        let child = mount.path().join("child");
        write(&child, &[("memory.limit_in_bytes", "9223372036854771712\n")]);
        let point = mount.path().display();
        let mounts = format!("31 20 0:27 /docker/x {point} rw - cgroup cgroup rw,memory\n");
        let expected = [Level { limit_bytes: 5000, used_bytes: 6000 }];
        assert_eq!(limits_of("4:memory:/docker/x/child\n0::/\n", &mounts), expected);
        assert_eq!(limits_of("4:memory:/elsewhere\n", &mounts), expected);
        assert_eq!(expected[0].leaves(), 0);
        let cpu = format!("31 20 0:27 / {point} rw - cgroup cgroup rw,cpu\n");
        assert_eq!(limits_of("4:cpu:/\n", &cpu), []);
    }
}
