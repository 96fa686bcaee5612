#![expect(unsafe_code, reason = "process_madvise")]
//! Dropping pages of many ranges with one call.
//!
//! Each call of madvise(2) that takes pages out interrupts the other processors, so that they
//! forget where those were. process_madvise(2) does that once for all ranges (Linux 6.16), and
//! takes a process's own ranges (6.13).

use crate::aio::Piece;
use crate::errno;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, getpid, pidfd_open};

/// Ranges that are dropped together. Without [`Self::begin`], and where the kernel cannot,
/// nothing is.
#[derive(Debug, Default)]
pub struct Drops {
    /// This process; none where the kernel has refused.
    own: Option<OwnedFd>,
    ranges: Vec<Piece>,
}

impl Drops {
    /// At most so many ranges from now on. For the thread that will call [`Self::drop_all`].
    pub fn begin(&mut self, most: usize) {
        self.ranges.reserve(most);
        self.own = pidfd_open(getpid(), PidfdFlags::empty()).ok();
    }

    /// Drops the pages of ranges, addresses and bytes, as [`maps::dont_need`](crate::maps::dont_need)
    /// does. False if not all of them are, or perhaps not; some may be.
    pub fn drop_all(&mut self, ranges: impl Iterator<Item = (usize, usize)>) -> bool {
        let Some(own) = &self.own else { return false };
        self.ranges.clear();
        let mut bytes = 0;
        for (addr, len) in ranges {
            if self.ranges.len() == self.ranges.capacity() {
                return false;
            }
            self.ranges.push(Piece::new(addr, len));
            bytes += len;
        }
        // SAFETY: the ranges are valid for the call, which takes nothing from the memory of
        // this process that its owner has not given up; a piece is an iovec.
        let dropped = unsafe {
            libc::syscall(
                libc::SYS_process_madvise,
                own.as_raw_fd(),
                self.ranges.as_ptr(),
                self.ranges.len(),
                libc::MADV_DONTNEED,
                0,
            )
        };
        if dropped < 0 {
            // A locked range, which may be unlocked, or a kernel that never will.
            if matches!(errno::last(), Errno::PERM | Errno::NOSYS) || is_refused_alone(own) {
                self.own = None;
            }
        }
        usize::try_from(dropped) == Ok(bytes)
    }
}

/// Whether the kernel does not take what is no range at all, so that ranges are not to blame.
fn is_refused_alone(own: &OwnedFd) -> bool {
    // SAFETY: no range is given.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            own.as_raw_fd(),
            core::ptr::null::<Piece>(),
            0usize,
            libc::MADV_DONTNEED,
            0,
        )
    };
    answer < 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::Reservation;

    #[test]
    fn ranges_are_dropped_together_or_not_at_all() {
        const PAGE: usize = 4096;
        let memory = Reservation::new(16 * PAGE).expect("memory");
        let byte = |page: usize| (memory.addr() + page * PAGE) as *mut u8;
        for page in 0..16 {
            // SAFETY: inside of the memory.
            unsafe { byte(page).write_volatile(1) };
        }
        let ranges = [2, 5, 9].map(|page| (memory.addr() + page * PAGE, 2 * PAGE));
        let mut drops = Drops::default();
        assert!(!drops.drop_all(ranges.into_iter()), "not begun");
        drops.begin(3);
        let dropped = drops.drop_all(ranges.into_iter());
        // SAFETY: inside of the memory.
        let left = (0..16).filter(|page| unsafe { byte(*page).read_volatile() } == 1).count();
        if !dropped {
            assert_eq!(left, 16, "refused as a whole");
            println!("SKIPPED: process_madvise(2) does not drop this process's pages on this kernel");
            return;
        }
        assert_eq!(left, 10);
        let many = (0..64).map(|page| (memory.addr() + page % 16 * PAGE, PAGE));
        assert!(!drops.drop_all(many), "more ranges than there is room for");
    }
}
