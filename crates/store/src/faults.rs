//! Failures on demand, for tests of what happens when the store fails.

use core::fmt;
use core::str::FromStr;
use rustix::io::Errno;

/// Which operations of a store fail. Operations are counted from 1, reads and
/// writes apart.
///
/// As text: words separated by commas, of `write-error@N` (EIO on the N-th write and
/// every later one), `full@N` (ENOSPC likewise), `read-error@N` (EIO on the N-th
/// read), `corrupt-read@N` (a byte of the N-th read is wrong), and `rate=P` (each
/// operation fails with probability P, reads in either way), where `seed=K` chooses
/// which do. The transfers of mapped files are counted apart: `file-read-error@N` and
/// `file-write-error@N` (EIO on the N-th), `file-full@N` (ENOSPC on the N-th write).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    write_error: Option<u64>,
    full: Option<u64>,
    read_error: Option<u64>,
    corrupt_read: Option<u64>,
    file_read_error: Option<u64>,
    file_write_error: Option<u64>,
    file_full: Option<u64>,
    seed: u64,
    rate: f64,
}

/// How a read fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadFault {
    Error,
    Corrupt,
}

impl FaultPlan {
    /// What becomes of the `nth` write.
    pub(crate) fn of_write(&self, nth: u64) -> Option<Errno> {
        let from = |at: Option<u64>| at.is_some_and(|at| nth >= at);
        if from(self.write_error) || self.draw(2 * nth).is_some() {
            return Some(Errno::IO);
        }
        from(self.full).then_some(Errno::NOSPC)
    }

    /// What becomes of the `nth` read.
    pub(crate) fn of_read(&self, nth: u64) -> Option<ReadFault> {
        if self.read_error == Some(nth) {
            return Some(ReadFault::Error);
        }
        if self.corrupt_read == Some(nth) {
            return Some(ReadFault::Corrupt);
        }
        let bits = self.draw(2 * nth + 1)?;
        Some(if bits & 1 == 0 { ReadFault::Error } else { ReadFault::Corrupt })
    }

    /// What becomes of the `nth` read of a file.
    pub(crate) fn of_file_read(&self, nth: u64) -> Option<Errno> {
        (self.file_read_error == Some(nth)).then_some(Errno::IO)
    }

    /// What becomes of the `nth` write of a file.
    pub(crate) fn of_file_write(&self, nth: u64) -> Option<Errno> {
        let broken = (self.file_write_error == Some(nth)).then_some(Errno::IO);
        broken.or((self.file_full == Some(nth)).then_some(Errno::NOSPC))
    }

    /// Random bits for an operation that the rate hits. A function of the seed and
    /// the operation, so that a run can be repeated whatever order things end in:
    /// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) at that place of its sequence.
    fn draw(&self, operation: u64) -> Option<u64> {
        let mut bits = self.seed.wrapping_add(operation.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        // 53 bits fill the mantissa; the others are left for the kind.
        let drawn = (bits >> 11) as f64 / (1u64 << 53) as f64;
        (drawn < self.rate).then_some(bits)
    }
}

/// A plan that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPlan(String);

impl fmt::Display for BadPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not one of write-error@N, full@N, read-error@N, corrupt-read@N, \
             file-read-error@N, file-write-error@N, file-full@N (N from 1), seed=K, rate=P (P from 0 to 1)",
            self.0
        )
    }
}

impl core::error::Error for BadPlan {}

impl FromStr for FaultPlan {
    type Err = BadPlan;

    fn from_str(text: &str) -> Result<Self, BadPlan> {
        let mut plan = Self::default();
        for word in text.split(',') {
            plan.read_word(word).ok_or_else(|| BadPlan(word.to_owned()))?;
        }
        Ok(plan)
    }
}

impl FaultPlan {
    fn read_word(&mut self, word: &str) -> Option<()> {
        if let Some((kind, number)) = word.split_once('@') {
            let field = match kind {
                "write-error" => &mut self.write_error,
                "full" => &mut self.full,
                "read-error" => &mut self.read_error,
                "corrupt-read" => &mut self.corrupt_read,
                "file-read-error" => &mut self.file_read_error,
                "file-write-error" => &mut self.file_write_error,
                "file-full" => &mut self.file_full,
                _ => return None,
            };
            *field = Some(number.parse().ok().filter(|nth| *nth > 0)?);
            return Some(());
        }
        match word.split_once('=')? {
            ("seed", number) => self.seed = number.parse().ok()?,
            ("rate", number) => self.rate = number.parse().ok().filter(|p| (0.0..=1.0).contains(p))?,
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read_and_nonsense_is_named() {
        let plan: FaultPlan = "write-error@3,corrupt-read@7".parse().unwrap();
        assert_eq!((plan.write_error, plan.corrupt_read), (Some(3), Some(7)));
        for text in ["", "write-error", "write-error@0", "flood@3", "full@x", "rate=2", "seed=-1"] {
            assert!(text.parse::<FaultPlan>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_write_fails_for_good_and_a_read_once() {
        let plan: FaultPlan = "full@4,write-error@6,read-error@2,corrupt-read@3".parse().unwrap();
        let writes: Vec<_> = (1..=7).map(|nth| plan.of_write(nth)).collect();
        let (full, broken) = (Some(Errno::NOSPC), Some(Errno::IO));
        assert_eq!(writes, [None, None, None, full, full, broken, broken]);
        let reads: Vec<_> = (1..=4).map(|nth| plan.of_read(nth)).collect();
        assert_eq!(reads, [None, Some(ReadFault::Error), Some(ReadFault::Corrupt), None]);
    }

    #[test]
    fn transfers_of_files_fail_once() {
        let plan: FaultPlan = "file-full@2,file-write-error@3,file-read-error@2".parse().unwrap();
        let writes: Vec<_> = (1..=4).map(|nth| plan.of_file_write(nth)).collect();
        assert_eq!(writes, [None, Some(Errno::NOSPC), Some(Errno::IO), None]);
        let reads: Vec<_> = (1..=3).map(|nth| plan.of_file_read(nth)).collect();
        assert_eq!(reads, [None, Some(Errno::IO), None]);
        assert_eq!((plan.of_write(2), plan.of_read(2)), (None, None));
    }

    #[test]
    fn the_rate_is_kept_and_the_seed_chooses() {
        let hits = |text: &str| {
            let plan: FaultPlan = text.parse().unwrap();
            (1..=10_000).filter(|nth| plan.of_read(*nth).is_some()).collect::<Vec<u64>>()
        };
        let one = hits("seed=1,rate=0.1");
        assert!((800..1200).contains(&one.len()), "{} of 10000", one.len());
        assert_eq!(one, hits("rate=0.1,seed=1"));
        assert_ne!(one, hits("seed=2,rate=0.1"));
        assert!(hits("seed=1,rate=0").is_empty());
    }
}
