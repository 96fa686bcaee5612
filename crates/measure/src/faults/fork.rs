#![expect(unsafe_code, reason = "fork has no safe interface")]
//! Copies of the process.

use std::io::{Error, Read, Write, pipe};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work` in a forked child, which ends then; what it returned. The caller has no other
/// thread.
///
/// # Errors
/// There is no child, or it ended before it was done.
pub(super) fn in_child(work: impl FnOnce() -> Vec<u64>) -> Result<Vec<u64>, Error> {
    let (mut from, mut to) = pipe()?;
    // SAFETY: there is no other thread whose locks the child would wait for.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(Error::last_os_error());
    }
    if pid == 0 {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let bytes: Vec<u8> = work().into_iter().flat_map(u64::to_le_bytes).collect();
            to.write_all(&bytes)
        }));
        // SAFETY: ends this process, and nothing else of the parent's is undone.
        unsafe { libc::_exit(i32::from(!matches!(done, Ok(Ok(()))))) };
    }
    drop(to);
    let mut bytes = Vec::new();
    let read = from.read_to_end(&mut bytes);
    let mut status = 0;
    // SAFETY: waits for the child that was just made; the kernel writes one number.
    let waited = unsafe { libc::waitpid(pid, &mut status, 0) };
    read?;
    if waited != pid || status != 0 {
        return Err(Error::other(format!("the forked child ended with status {status:#x}")));
    }
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    Ok(bytes.chunks_exact(8).map(word).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_found_is_told() {
        assert_eq!(in_child(|| vec![1, 1 << 40, u64::MAX]).unwrap(), [1, 1 << 40, u64::MAX]);
        assert!(in_child(|| panic!("on purpose")).is_err());
    }
}
