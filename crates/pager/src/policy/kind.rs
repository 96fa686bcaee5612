//! The policies by name.

use super::{Arc, Arrival, Clock, Fifo, First, Lirs, Lru, Policy, S3Fifo, Sieve, TwoQueue};
use core::fmt;
use core::str::FromStr;

/// Every policy there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// The page that came first leaves first: [`Fifo`].
    Fifo,
    /// The least recently used leaves: [`Lru`].
    Lru,
    /// First in, first out with a second chance: [`Clock`].
    Clock,
    /// A hand that leaves survivors where they are: [`Sieve`].
    Sieve,
    /// A small queue on probation before the main one: [`S3Fifo`].
    S3Fifo,
    /// What comes back after it left is kept by recency: [`TwoQueue`].
    TwoQueue,
    /// Recency and frequency in shares that adapt: [`Arc`].
    Arc,
    /// Few distinct pages between two references: [`Lirs`].
    Lirs,
    /// The page with the lowest number leaves: [`First`].
    First,
    /// The page that is needed last leaves: [`Opt`](super::Opt).
    Opt,
}

impl PolicyKind {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 10] = [
        Self::Fifo,
        Self::Lru,
        Self::Clock,
        Self::Sieve,
        Self::S3Fifo,
        Self::TwoQueue,
        Self::Arc,
        Self::Lirs,
        Self::First,
        Self::Opt,
    ];

    /// The name, as typed and printed.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::Lru => "lru",
            Self::Clock => "clock",
            Self::Sieve => "sieve",
            Self::S3Fifo => "s3fifo",
            Self::TwoQueue => "2q",
            Self::Arc => "arc",
            Self::Lirs => "lirs",
            Self::First => "first",
            Self::Opt => "opt",
        }
    }

    /// The policy for at most `pages` pages at once; what comes in counts as `arrival`
    /// says, where the policy is the clock. None for OPT, which is made from the future
    /// by [`Opt::new`](super::Opt::new).
    ///
    /// # Panics
    /// If `pages` is 0.
    pub fn build(self, pages: u32, arrival: Arrival) -> Option<Box<dyn Policy>> {
        Some(match self {
            Self::Fifo => Box::new(Fifo::new(pages)),
            Self::Lru => Box::new(Lru::new(pages)),
            Self::Clock => Box::new(Clock::new(pages, arrival)),
            Self::Sieve => Box::new(Sieve::new(pages)),
            Self::S3Fifo => Box::new(S3Fifo::new(pages)),
            Self::TwoQueue => Box::new(TwoQueue::new(pages)),
            Self::Arc => Box::new(Arc::new(pages)),
            Self::Lirs => Box::new(Lirs::new(pages)),
            Self::First => Box::new(First::new(pages)),
            Self::Opt => return None,
        })
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is not a policy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPolicy {
    /// What was given.
    pub name: String,
}

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = PolicyKind::ALL.into_iter().map(PolicyKind::name).collect();
        write!(f, "{:?} is not a policy; there are {}", self.name, names.join(", "))
    }
}

impl core::error::Error for UnknownPolicy {}

impl FromStr for PolicyKind {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownPolicy { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_refused() {
        for kind in PolicyKind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(kind.build(3, Arrival::Unreferenced).is_none(), kind == PolicyKind::Opt);
        }
        let error = "mru".parse::<PolicyKind>().expect_err("not a policy");
        assert_eq!(
            error.to_string(),
            "\"mru\" is not a policy; there are fifo, lru, clock, sieve, s3fifo, 2q, arc, lirs, first, opt"
        );
    }
}
