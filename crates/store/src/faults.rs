//! Failures on demand, for tests of what happens when the store fails.

use core::fmt;
use core::str::FromStr;

/// Which operations of a store fail. Operations are counted from 1, reads and
/// writes apart.
///
/// As text: words separated by commas, of `write-error@N` (EIO on the N-th write and
/// every later one), `full@N` (ENOSPC likewise), `read-error@N` (EIO on the N-th
/// read), `corrupt-read@N` (a byte of the N-th read is wrong).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    pub(crate) write_error: Option<u64>,
    pub(crate) full: Option<u64>,
    pub(crate) read_error: Option<u64>,
    pub(crate) corrupt_read: Option<u64>,
}

/// A plan that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPlan(String);

impl fmt::Display for BadPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' is not one of write-error@N, full@N, read-error@N, corrupt-read@N", self.0)
    }
}

impl FromStr for FaultPlan {
    type Err = BadPlan;

    fn from_str(text: &str) -> Result<Self, BadPlan> {
        let mut plan = Self::default();
        for word in text.split(',') {
            let bad = || BadPlan(word.to_owned());
            let (kind, number) = word.split_once('@').ok_or_else(bad)?;
            let number = number.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?;
            let field = match kind {
                "write-error" => &mut plan.write_error,
                "full" => &mut plan.full,
                "read-error" => &mut plan.read_error,
                "corrupt-read" => &mut plan.corrupt_read,
                _ => return Err(bad()),
            };
            *field = Some(number);
        }
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_read_and_nonsense_is_named() {
        let plan: FaultPlan = "write-error@3,corrupt-read@7".parse().unwrap();
        assert_eq!((plan.write_error, plan.corrupt_read), (Some(3), Some(7)));
        for text in ["", "write-error", "write-error@0", "flood@3", "full@x"] {
            assert!(text.parse::<FaultPlan>().is_err(), "{text}");
        }
    }
}
