//! What things take on the machine, in its virtual time.

use pager::space::FaultKind;

/// What things take. The defaults are round numbers; `outcore bench faults --fit` measures
/// those of the computer that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Nanoseconds of any fault.
    pub fault: u64,
    /// Nanoseconds besides for a page of zeros.
    pub zero: u64,
    /// Nanoseconds besides for a page of a stack.
    pub stack: u64,
    /// Nanoseconds besides for a page that is copied before it is written.
    pub copy: u64,
    /// Nanoseconds besides where only the entry has to change.
    pub mapped: u64,
    /// Nanoseconds besides for a page of a file, without its transfer.
    pub file: u64,
    /// Nanoseconds until the disk's first byte.
    pub latency: u64,
    /// Bytes in a second after it.
    pub bandwidth: u64,
}

/// No single cost is more: a second.
const MOST_NS: u64 = 1_000_000_000;

impl Default for Costs {
    /// A fault in 1 µs, whatever its kind, and a solid-state disk: 100 µs, 500 MB a second.
    fn default() -> Self {
        Self {
            fault: 1_000,
            zero: 0,
            stack: 0,
            copy: 0,
            mapped: 0,
            file: 0,
            latency: 100_000,
            bandwidth: 500_000_000,
        }
    }
}

impl Costs {
    /// Whether virtual time can go on with them.
    ///
    /// # Errors
    /// What is wrong, with the number, and what to do.
    pub fn check(&self) -> Result<(), String> {
        let times = [
            ("a fault", self.fault),
            ("a page of zeros", self.zero),
            ("a page of a stack", self.stack),
            ("a copy of a page", self.copy),
            ("an entry that changes", self.mapped),
            ("a page of a file", self.file),
            ("the disk's first byte", self.latency),
        ];
        for (what, ns) in times {
            if ns > MOST_NS {
                return Err(format!("{ns} ns for {what}: write at most {MOST_NS}, a second"));
            }
        }
        if self.bandwidth == 0 {
            return Err("a disk of 0 bytes a second: write at least 1".into());
        }
        Ok(())
    }

    /// Nanoseconds of a transfer.
    pub fn transfer(&self, bytes: u64) -> u64 {
        self.latency + bytes.saturating_mul(1_000_000_000) / self.bandwidth.max(1)
    }

    /// Nanoseconds that a fault of this kind takes besides [`Self::fault`] and its transfers.
    pub fn besides(&self, kind: FaultKind) -> u64 {
        match kind {
            FaultKind::Zero => self.zero,
            FaultKind::Stack => self.stack,
            FaultKind::CopyOnWrite => self.copy,
            FaultKind::Mapped => self.mapped,
            FaultKind::File => self.file,
            // All that is known of it is in the disk's latency.
            FaultKind::SwapIn => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_checked_and_add_up() {
        let costs = Costs::default();
        assert_eq!(costs.check(), Ok(()));
        assert_eq!(costs.transfer(4096), 100_000 + 8_192);
        let slow = Costs { latency: MOST_NS + 1, ..costs };
        assert!(slow.check().unwrap_err().contains("1000000001 ns for the disk's first byte"));
        assert!(Costs { bandwidth: 0, ..costs }.check().unwrap_err().contains("0 bytes a second"));
    }
}
