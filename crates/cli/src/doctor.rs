//! `outcore doctor`: what this machine offers, and how to enable better.

use crate::args::DoctorOptions;
use crate::memory::Memory;
use crate::offer::{Offer, try_io_uring};
use crate::place;
use crate::size::shown;
use crate::trouble::Trouble;
use rustix::io::Errno;
use serde_json::{Value, json};
use std::fmt::{Display, Write as _};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use sys::companion;
use sys::uffd::Features;

/// Gives a group the right to open the device, now and after a restart.
const DEVICE_ADVICE: &str = "\
sudo chmod 666 /dev/userfaultfd   (until the next start; for good, put
      KERNEL==\"userfaultfd\", MODE=\"0666\"
      into /etc/udev/rules.d/60-userfaultfd.rules)";

/// For kernels without the device.
const SYSCTL_ADVICE: &str = "sudo sysctl vm.unprivileged_userfaultfd=1   (for good: in /etc/sysctl.d/)";

/// For containers.
const CONTAINER_ADVICE: &str =
    "in a container: pass the device, such as docker run --device /dev/userfaultfd";

/// For machines that forbid io_uring.
const IO_URING_ADVICE: &str =
    "sudo sysctl kernel.io_uring_disabled=0   (in a container: a seccomp profile that allows it)";

/// Everything that the doctor looks at.
struct Findings {
    kernel: String,
    offer: Offer,
    unprivileged_sysctl: Option<u64>,
    io_uring: Result<(), String>,
    io_uring_sysctl: Option<u64>,
    memory: Memory,
    overcommit: Option<u64>,
    max_map_count: Option<u64>,
    store: Result<Store, String>,
}

/// The default store.
struct Store {
    dir: PathBuf,
    free_bytes: Option<u64>,
    direct: bool,
}

/// Prints what this machine offers; always 0, for it only looks.
///
/// # Errors
/// None at present.
pub(crate) fn doctor(options: &DoctorOptions) -> Result<u8, Trouble> {
    let findings = Findings::look();
    let text = if options.json { format!("{:#}\n", findings.numbers()) } else { findings.text() };
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(0)
}

impl Findings {
    fn look() -> Self {
        let store = place::default_directory().map_err(|trouble| trouble.text).map(|dir| Store {
            free_bytes: place::free_bytes(&dir),
            direct: place::does_direct_io(&dir),
            dir,
        });
        Self {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |text| text.trim().to_owned()),
            offer: Offer::look(),
            unprivileged_sysctl: sysctl("vm/unprivileged_userfaultfd"),
            io_uring: try_io_uring().map_err(|error| error.to_string()),
            io_uring_sysctl: sysctl("kernel/io_uring_disabled"),
            memory: Memory::look(),
            overcommit: sysctl("vm/overcommit_memory"),
            max_map_count: sysctl("vm/max_map_count"),
            store,
        }
    }

    /// The findings in plain words, each problem followed by what helps.
    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |what: &str, found: String| {
            let _ = writeln!(text, "{what:<20}{found}");
        };
        line("kernel", format!("Linux {}", self.kernel));
        line("userfaultfd", self.verdict().to_owned());
        line("  /dev/userfaultfd", source(&self.offer.device));
        line("  system call", source(&self.offer.syscall));
        line("  user-mode only", source(&self.offer.user_mode));
        line("pages", self.mechanism().to_owned());
        line("lost pages", self.losses().to_owned());
        line("transfers", self.transfers());
        line("pager", pager().to_owned());
        line(
            "RAM",
            format!("{}, of it {} available", shown(self.memory.total), shown(self.memory.available)),
        );
        line(
            "control group",
            match (self.memory.limit, self.memory.limit_leaves) {
                (Some(limit), Some(left)) => {
                    format!("limits memory to {}, of it {} left", shown(limit), shown(left))
                }
                _ => "does not limit memory".to_owned(),
            },
        );
        line("overcommit", self.overcommit_words());
        line(
            "mappings",
            self.max_map_count.map_or_else(unknown, |count| format!("up to {count} in a process")),
        );
        line(
            "store",
            match &self.store {
                Ok(store) => store.words(),
                Err(reason) => reason.clone(),
            },
        );
        text.push('\n');
        match self.advice().as_slice() {
            [] => text.push_str("Everything that Outcore can use is there.\n"),
            advice => {
                text.push_str("To enable better:\n");
                for advice in advice {
                    let _ = writeln!(text, "  * {advice}");
                }
            }
        }
        text
    }

    /// What kind of userfaultfd a run gets.
    fn verdict(&self) -> &'static str {
        if self.offer.full().is_some() {
            "full: faults inside system calls are served too"
        } else if self.offer.best().is_some() {
            "user-mode only: a system call that is handed an evicted page can fail with EFAULT"
        } else {
            "none: outcore run refuses to start"
        }
    }

    fn has(&self, feature: Features) -> bool {
        self.offer.best().is_some_and(|features| features.contains(feature))
    }

    /// How pages get in and out of RAM.
    fn mechanism(&self) -> &'static str {
        if self.offer.best().is_none() {
            "cannot be paged"
        } else if self.has(Features::MOVE) {
            "move (UFFDIO_MOVE)"
        } else {
            "are copied, a fallback that is slower: UFFDIO_MOVE came with Linux 6.8"
        }
    }

    /// What happens where bytes do not come back from the store.
    fn losses(&self) -> &'static str {
        if self.offer.best().is_none() {
            "none, as nothing is paged"
        } else if self.has(Features::POISON) {
            "SIGBUS where they are touched (UFFDIO_POISON)"
        } else {
            "stop the program, a fallback: UFFDIO_POISON came with Linux 6.6"
        }
    }

    /// How bytes get to the store.
    fn transfers(&self) -> String {
        match &self.io_uring {
            Ok(()) => "through io_uring".to_owned(),
            Err(error) => format!("through threads, a fallback: io_uring cannot be set up ({error})"),
        }
    }

    fn overcommit_words(&self) -> String {
        match self.overcommit {
            Some(0) => "heuristic (0)".to_owned(),
            Some(1) => "always (1)".to_owned(),
            Some(2) => "never (2): large reservations fail, of programs and of Outcore".to_owned(),
            Some(other) => format!("mode {other}"),
            None => unknown(),
        }
    }

    /// What would make runs better, most important first.
    fn advice(&self) -> Vec<&'static str> {
        let mut advice = Vec::new();
        if self.offer.full().is_none() {
            if self.offer.device != Err(Errno::NOENT) {
                advice.push(DEVICE_ADVICE);
            } else {
                advice.push(CONTAINER_ADVICE);
            }
            if self.unprivileged_sysctl == Some(0) {
                advice.push(SYSCTL_ADVICE);
            }
        }
        if self.io_uring.is_err() {
            advice.push(IO_URING_ADVICE);
        }
        if self.offer.best().is_some() && !self.has(Features::MOVE) {
            advice.push("a kernel from Linux 6.12 on, where pages move without a copy");
        }
        if self.overcommit == Some(2) {
            advice.push("sudo sysctl vm.overcommit_memory=0");
        }
        if self.store.is_err() {
            advice.push("name a directory on a disk with --store DIR, or in TMPDIR");
        }
        advice
    }

    /// The findings for programs.
    fn numbers(&self) -> Value {
        let source = |found: &Result<Features, Errno>| match found {
            Ok(features) => json!({ "available": true, "features": names(*features) }),
            Err(error) => json!({ "available": false, "error": error.to_string() }),
        };
        json!({
            "kernel": self.kernel,
            "userfaultfd": {
                "device": source(&self.offer.device),
                "syscall": source(&self.offer.syscall),
                "user_mode_only": source(&self.offer.user_mode),
                "unprivileged_userfaultfd": self.unprivileged_sysctl,
                "full": self.offer.full().is_some(),
                "move": self.has(Features::MOVE),
                "poison": self.has(Features::POISON),
            },
            "pager_process": companion::are_possible(),
            "io_uring": {
                "available": self.io_uring.is_ok(),
                "error": self.io_uring.as_ref().err(),
                "io_uring_disabled": self.io_uring_sysctl,
            },
            "memory": {
                "total_bytes": self.memory.total,
                "available_bytes": self.memory.available,
                "limit_bytes": self.memory.limit,
                "limit_leaves_bytes": self.memory.limit_leaves,
                "overcommit_memory": self.overcommit,
                "max_map_count": self.max_map_count,
            },
            "store": match &self.store {
                Ok(store) => json!({
                    "directory": store.dir.to_string_lossy(),
                    "free_bytes": store.free_bytes,
                    "direct_io": store.direct,
                }),
                Err(reason) => json!({ "error": reason }),
            },
            "advice": self.advice(),
        })
    }
}

impl Store {
    fn words(&self) -> String {
        let free = self.free_bytes.map_or_else(unknown, shown);
        let direct = if self.direct { "direct I/O" } else { "no direct I/O, so the page cache is used" };
        format!("{}: {free} free, {direct}", self.dir.display())
    }
}

/// Where the pager of a program lives.
fn pager() -> &'static str {
    if companion::are_possible() {
        "a process of its own"
    } else {
        "a thread of the program, a fallback: futex_waitv(2) of Linux 5.16 or kcmp(2) is missing"
    }
}

/// What one way to a userfaultfd gives.
fn source(found: &Result<Features, Errno>) -> String {
    match found {
        Ok(features) => format!("yes: {}", names(*features).join(", ")),
        Err(error) => format!("no: {}", explain(*error)),
    }
}

/// What the kernel means by `error` when asked for a userfaultfd.
fn explain(error: Errno) -> impl Display {
    match error {
        Errno::NOENT => "there is no such file".to_owned(),
        Errno::ACCESS | Errno::PERM => "not permitted".to_owned(),
        Errno::NOSYS => "this kernel does not know it, or a filter hides it".to_owned(),
        Errno::INVAL => "this kernel does not know it".to_owned(),
        other => other.to_string(),
    }
}

/// The features that Outcore can make use of. Fork events are not among them:
/// they are offered to all, and given only to the privileged.
fn names(features: Features) -> Vec<&'static str> {
    [(Features::MOVE, "move"), (Features::PAGEFAULT_FLAG_WP, "write-protect"), (Features::POISON, "poison")]
        .into_iter()
        .filter(|(feature, _)| features.contains(*feature))
        .map(|(_, name)| name)
        .collect()
}

fn unknown() -> String {
    "unknown".to_owned()
}

/// A kernel setting that is a number; none if this kernel has no such setting.
fn sysctl(name: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}
