//! What happened so far, under the names that vmstat made known.

/// Monotonic counts since the pager was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Faults resolved without I/O.
    pub minor_faults: u64,
    /// Faults that had to wait for the store.
    pub major_faults: u64,
    /// Pages read from the store.
    pub swap_ins: u64,
    /// Pages written to the store.
    pub swap_outs: u64,
    /// Pages read from their homes, such as mapped files.
    pub file_reads: u64,
    /// Pages written to their homes.
    pub file_writes: u64,
    /// Frames looked at by reclaim.
    pub pages_scanned: u64,
    /// Frames that reclaim freed.
    pub pages_reclaimed: u64,
    /// Parked or writing pages touched before their frame was taken.
    pub rescues: u64,
    /// Demand faults on pages that had been evicted.
    pub refaults: u64,
    /// Evictions that wrote nothing because the store held the same bytes.
    pub clean_evictions: u64,
    /// Evictions that wrote nothing because the page was all zero.
    pub zero_evictions: u64,
    /// Pages read before they were asked for.
    pub readahead_pages: u64,
    /// Of these, pages that were then touched.
    pub readahead_hits: u64,
    /// Faults on pages that the pager held to be mapped: the kernel had dropped
    /// them, or somebody else's fault brought them in.
    pub spurious_faults: u64,
    /// Pages that can never be read again.
    pub poisoned_pages: u64,
}
