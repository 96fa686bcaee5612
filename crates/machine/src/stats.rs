//! What happened on a machine.

use pager::space::{FaultKind, Served};
use std::collections::BTreeMap;

/// Faults of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindCounts {
    /// Served without a transfer.
    pub minor: u64,
    /// Those that waited for one.
    pub major: u64,
}

/// Counts since the machine was built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    kinds: BTreeMap<FaultKind, KindCounts>,
    /// Faults that were not served.
    pub failed: u64,
}

impl Stats {
    pub(crate) fn count(&mut self, served: Served) {
        let counts = self.kinds.entry(served.kind).or_default();
        if served.major {
            counts.major += 1;
        } else {
            counts.minor += 1;
        }
    }

    /// Faults of one kind.
    pub fn of(&self, kind: FaultKind) -> KindCounts {
        self.kinds.get(&kind).copied().unwrap_or_default()
    }

    /// Faults of all kinds.
    pub fn total(&self) -> KindCounts {
        self.kinds.values().fold(KindCounts::default(), |sum, counts| KindCounts {
            minor: sum.minor + counts.minor,
            major: sum.major + counts.major,
        })
    }
}
