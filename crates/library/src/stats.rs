//! A heap's numbers.

use crate::paging::Paging;
use core::fmt::{self, Display, Formatter};
use engine::{PAGE, Snapshot};

/// What a heap holds, and what its pager has done. Names are those of vmstat(8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes of RAM that its pages and tables may take; of a budget that is shared, now.
    pub budget_bytes: u64,
    /// Bytes of pages that are mapped.
    pub resident_bytes: u64,
    /// Bytes of pages that are in memory and not mapped: on their way, or next to leave.
    pub parked_bytes: u64,
    /// Bytes of pages that hold data and are in the store only.
    pub swapped_bytes: u64,
    /// Bytes that may not leave.
    pub pinned_bytes: u64,
    /// Bytes of tables about pages.
    pub metadata_bytes: u64,
    /// Bytes of the store in use.
    pub store_used_bytes: u64,
    /// Bytes that the store may hold.
    pub store_bytes: u64,
    /// Faults resolved without a transfer.
    pub minor_faults: u64,
    /// Faults that waited for the store.
    pub major_faults: u64,
    /// Pages read from the store.
    pub swap_ins: u64,
    /// Pages written to the store.
    pub swap_outs: u64,
    /// Pages read from mapped files.
    pub file_reads: u64,
    /// Pages written to mapped files.
    pub file_writes: u64,
    /// Frames that were freed by evicting a page.
    pub pages_reclaimed: u64,
    /// Pages that came back after having been evicted.
    pub refaults: u64,
    /// Pages evicted without a write because the store had the same bytes.
    pub clean_evictions: u64,
    /// Pages evicted without a write because they were all zero.
    pub zero_evictions: u64,
    /// Pages read before they were asked for.
    pub readahead_pages: u64,
    /// Of these, pages that were then touched.
    pub readahead_hits: u64,
    /// Pages whose bytes could not be read back right; touching them is SIGBUS.
    pub poisoned_pages: u64,
    /// Whether system calls wait for pages that are not in memory, as instructions do. Where
    /// they do not (no access to `/dev/userfaultfd`), they fail with `EFAULT`.
    pub serves_system_calls: bool,
}

impl Stats {
    pub(crate) fn of(paging: &Paging) -> Self {
        let instance = paging.instance();
        // Somebody may have had the lock when a child was forked.
        let now = if paging.is_here() { instance.snapshot() } else { Snapshot::default() };
        let page = PAGE as u64;
        let in_memory = now.resident_pages + now.parked_pages;
        let c = now.counters;
        Self {
            budget_bytes: if paging.is_here() { now.budget_bytes } else { instance.budget_bytes() },
            resident_bytes: now.resident_pages * page,
            parked_bytes: now.parked_pages * page,
            swapped_bytes: now.touched_pages.saturating_sub(in_memory) * page,
            pinned_bytes: now.pinned_pages * page,
            metadata_bytes: now.metadata_bytes,
            store_used_bytes: now.slots_used * page,
            store_bytes: now.slots_total * page,
            minor_faults: c.minor_faults,
            major_faults: c.major_faults,
            swap_ins: c.swap_ins,
            swap_outs: c.swap_outs,
            file_reads: c.file_reads,
            file_writes: c.file_writes,
            pages_reclaimed: c.pages_reclaimed,
            refaults: c.refaults,
            clean_evictions: c.clean_evictions,
            zero_evictions: c.zero_evictions,
            readahead_pages: c.readahead_pages,
            readahead_hits: c.readahead_hits,
            poisoned_pages: c.poisoned_pages,
            serves_system_calls: instance.serves_system_calls(),
        }
    }
}

/// In three lines, for a person.
impl Display for Stats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
        writeln!(
            f,
            "in memory: {:.1} of {:.1} MiB ({:.1} mapped, {:.1} parked), tables {:.1} MiB",
            mib(self.resident_bytes + self.parked_bytes),
            mib(self.budget_bytes),
            mib(self.resident_bytes),
            mib(self.parked_bytes),
            mib(self.metadata_bytes)
        )?;
        writeln!(
            f,
            "in the store: {:.1} MiB; written {} pages, read {} ({} ahead)",
            mib(self.swapped_bytes),
            self.swap_outs,
            self.swap_ins,
            self.readahead_pages
        )?;
        write!(f, "faults: {} minor, {} major", self.minor_faults, self.major_faults)
    }
}
