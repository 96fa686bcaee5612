#![expect(unsafe_code, reason = "reads a stack of the program's by process_vm_readv")]
//! Who called the code that faults, as far as its stack tells.
//!
//! The kernel gives a waiting thread's stack pointer and no other register, so frames cannot be
//! walked. Words of the stack are kept that point behind a call instruction of x86-64 in
//! memory that can be executed; whoever reads the trace sees candidates, the nearest first,
//! among them now and then one that an earlier call has left.

use crate::engine::program;
use rustix::fs::{Mode, OFlags};

/// Words of a stack that are looked through.
const STACK_WORDS: usize = 512;
/// Mappings that are known; of more, the rest.
const MOST_RANGES: usize = 512;
/// What is mapped is looked up again when code is seen that is not known, but not more often.
const LOOK_AGAIN: u64 = 1_000_000_000;
/// A line of `/proc/PID/maps` up to its rights.
const LINE: usize = 64;

/// The addresses at which files are mapped for execution. Only there is code read: anything else may be
/// memory that this very thread pages, and it would wait for itself.
#[derive(Debug)]
pub(crate) struct Code {
    ranges: Vec<(u64, u64)>,
    next_look: u64,
}

impl Code {
    pub(crate) fn new() -> Self {
        Self { ranges: Vec::with_capacity(MOST_RANGES), next_look: 0 }
    }

    fn has(&self, addr: u64) -> bool {
        self.ranges.iter().any(|(start, end)| (*start..*end).contains(&addr))
    }

    /// Looks through the stack from `stack` on, of which the caller knows that it is not paged, in a thread that
    /// is at `code`; how many callers are in `found` then.
    pub(crate) fn callers(&mut self, now: u64, code: u64, stack: u64, found: &mut [u64]) -> usize {
        if !self.has(code) && now >= self.next_look {
            self.look();
            self.next_look = now + LOOK_AGAIN;
        }
        let mut bytes = [0_u8; 8 * STACK_WORDS];
        // Not beyond the page after the first: that is all that was asked about.
        let got = read(stack & !7, &mut bytes);
        let mut count = 0;
        for word in bytes[..got].chunks_exact(8) {
            let addr = word.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
            if addr < 8 || !self.has(addr - 7) || found[..count].contains(&addr) {
                continue;
            }
            let mut before = [0; 7];
            if read(addr - 7, &mut before) == 7 && follows_call(&before) {
                found[count] = addr;
                count += 1;
                if count == found.len() {
                    break;
                }
            }
        }
        count
    }

    /// Reads which files are mapped for execution, without allocating.
    fn look(&mut self) {
        self.ranges.clear();
        let mut path = [0; 32];
        let Some(path) = crate::watch::path(&mut path, format_args!("/proc/{}/maps", program())) else {
            return;
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else { return };
        let (mut line, mut len) = ([0_u8; LINE], 0);
        let mut chunk = [0_u8; 4096];
        while let Ok(count @ 1..) = rustix::io::read(&file, &mut chunk) {
            for byte in &chunk[..count] {
                if *byte == b'\n' {
                    if let Some(range) = executable(&line[..len])
                        && self.ranges.len() < MOST_RANGES
                    {
                        self.ranges.push(range);
                    }
                    len = 0;
                } else if len < LINE {
                    line[len] = *byte;
                    len += 1;
                }
            }
        }
    }
}

/// The range of a line of `/proc/PID/maps`, if a file (one with an inode) can be executed there.
fn executable(line: &[u8]) -> Option<(u64, u64)> {
    let mut parts = core::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let (start, end) = parts.next()?.split_once('-')?;
    let rights = parts.next()?;
    let inode = parts.nth(2)?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    (rights.as_bytes().get(2) == Some(&b'x') && inode != "0").then_some((hex(start)?, hex(end)?))
}

/// Whether these bytes, before an address, end with a call: `e8` and four bytes, or `ff /2`.
fn follows_call(code: &[u8; 7]) -> bool {
    let indirect = |at: usize, modes: &[u8]| {
        code[at] == 0xff && code[at + 1] >> 3 & 7 == 2 && modes.contains(&(code[at + 1] >> 6))
    };
    code[2] == 0xe8
        || indirect(5, &[0, 3])
        || indirect(4, &[0, 1])
        || indirect(1, &[0, 2])
        || indirect(0, &[2])
}

/// Reads the program's memory, which is not paged there; what cannot be read is left out.
fn read(addr: u64, into: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: addr as *mut libc::c_void, iov_len: into.len() };
    // SAFETY: the kernel writes to `into` only, and checks the other address itself.
    let got = unsafe { libc::process_vm_readv(program() as i32, &local, 1, &remote, 1, 0) };
    usize::try_from(got).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_mappings_are_told_from_others() {
        let line = b"7f0a12000000-7f0a12195000 r-xp 00028000 fd:01 123456                     /usr/l";
        assert_eq!(executable(line), Some((0x7f0a_1200_0000, 0x7f0a_1219_5000)));
        for other in [
            &b"7f0a12000000-7f0a12195000 rw-p 00028000 fd:01 123456  /usr/lib"[..],
            b"7f0a12000000-7f0a12195000 rwxp 00000000 00:00 0",
            b"7f0a12000000",
            b"",
        ] {
            assert_eq!(executable(other), None);
        }
    }

    #[test]
    fn calls_are_recognised() {
        for code in [
            [0, 0, 0xe8, 1, 2, 3, 4],
            [0, 0, 0, 0, 0, 0xff, 0xd0],
            [0, 0, 0, 0, 0, 0xff, 0x10],
            [0, 0, 0, 0, 0xff, 0x50, 8],
            [0, 0xff, 0x15, 1, 2, 3, 4],
            [0xff, 0x94, 0x24, 1, 2, 3, 4],
        ] {
            assert!(follows_call(&code), "{code:x?}");
        }
        assert!(!follows_call(&[0x90; 7]) && !follows_call(&[0, 0, 0xe9, 1, 2, 3, 4]));
    }
}
