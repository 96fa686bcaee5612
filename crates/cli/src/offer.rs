//! What this machine's kernel offers for paging, by trying it.

use crate::args::{Fallback, Feature, RunOptions, word};
use crate::place::Place;
use crate::trouble::Trouble;
use io_uring::IoUring;
use rustix::io::Errno;
use std::io;
use sys::uffd::{Features, Source, probe};

/// Entries of the ring that is set up as a trial.
const TRIAL_ENTRIES: u32 = 2;

/// The three ways to a userfaultfd, best first, with what each can do.
pub(crate) struct Offer {
    /// `/dev/userfaultfd`: needs permission for the file.
    pub(crate) device: Result<Features, Errno>,
    /// The system call: needs a privilege or a sysctl.
    pub(crate) syscall: Result<Features, Errno>,
    /// The system call, without faults taken inside system calls: for anyone.
    pub(crate) user_mode: Result<Features, Errno>,
}

impl Offer {
    /// Tries all three.
    pub(crate) fn look() -> Self {
        Self {
            device: probe(Source::Device),
            syscall: probe(Source::Syscall),
            user_mode: probe(Source::UserModeOnly),
        }
    }

    /// The features of a userfaultfd that serves system calls too, if we get one.
    pub(crate) fn full(&self) -> Option<Features> {
        self.device.or(self.syscall).ok()
    }

    /// The features of the userfaultfd that a run uses, if there is one.
    pub(crate) fn best(&self) -> Option<Features> {
        self.full().or(self.user_mode.ok())
    }
}

/// Whether an io_uring can be set up.
///
/// # Errors
/// What the kernel answered.
pub(crate) fn try_io_uring() -> io::Result<()> {
    IoUring::new(TRIAL_ENTRIES).map(drop)
}

/// Refuses what cannot be had here, and returns what to tell about the rest.
///
/// # Errors
/// No userfaultfd at all, or a required feature that is missing or was forced away.
pub(crate) fn check(options: &RunOptions, place: &Place) -> Result<Option<String>, Trouble> {
    let offer = Offer::look();
    let forced = |fallback| options.force.contains(&fallback);
    let full = if forced(Fallback::UserMode) { None } else { offer.full() };
    let Some(features) = full.or(offer.user_mode.ok()) else {
        let reason = offer.user_mode.err().unwrap_or(Errno::NOSYS);
        return Err(Trouble::own(format!(
            "this kernel gives us no userfaultfd ({reason}), without which nothing can be paged; outcore doctor \
             says how to enable it"
        )));
    };
    if options.map_files && full.is_none() {
        return Err(Trouble::own(
            "--map-files: only a user-mode userfaultfd is to be had, with which a system call that is handed a page of \
             a file could fail; outcore doctor says how to enable more",
        ));
    }
    for feature in &options.require {
        let missing = match feature {
            Feature::Move if forced(Fallback::Copy) => Some("--force copy does without it".to_owned()),
            Feature::Move => (!features.contains(Features::MOVE))
                .then(|| "this kernel has no UFFDIO_MOVE (it came with Linux 6.8)".to_owned()),
            Feature::IoUring if forced(Fallback::Threads) => {
                Some("--force threads does without it".to_owned())
            }
            Feature::IoUring => {
                try_io_uring().err().map(|error| format!("an io_uring cannot be set up here: {error}"))
            }
            Feature::FullUserfaultfd if forced(Fallback::UserMode) => {
                Some("--force user-mode does without it".to_owned())
            }
            Feature::FullUserfaultfd => full.is_none().then(|| {
                "only a user-mode userfaultfd is to be had; outcore doctor says how to enable more".to_owned()
            }),
            Feature::PagerProcess if forced(Fallback::PagerThread) => {
                Some("--force pager-thread does without it".to_owned())
            }
            Feature::PagerProcess => (!sys::companion::are_possible()).then(|| {
                "this kernel has no futex_waitv (it came with Linux 5.16), or kcmp is forbidden".to_owned()
            }),
            Feature::FileStore => {
                (*place == Place::Memory).then(|| "--store memory does without it".to_owned())
            }
        };
        if let Some(reason) = missing {
            return Err(Trouble::own(format!("--require {}: {reason}", word(*feature))));
        }
    }
    Ok(full.is_none().then(|| {
        "warning: only a user-mode userfaultfd is used: once memory is paged, a system call that is handed an \
         evicted page can fail with EFAULT. outcore doctor says how to enable a full one"
            .to_owned()
    }))
}
