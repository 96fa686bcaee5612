//! What a machine is built from.

use crate::costs::Costs;
use pager::space::{MAX_SPACE_PAGES, StackRule, USER_END};
use pager::{Commit, PolicyKind};
use std::path::PathBuf;

/// When dirty pages of mapped files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writeback {
    /// When their mapping ends, and before, when they are evicted.
    Exit,
    /// When they are evicted.
    Evict,
}

/// What a machine is built from. The defaults are those of the documentation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Frames, that of zeros included.
    pub frames: u64,
    /// Swap slots.
    pub slots: u64,
    /// Bytes in a page.
    pub page_size: u64,
    /// Bytes of the arena.
    pub arena: u64,
    /// The arena's first address.
    pub base: u64,
    /// Who chooses what leaves.
    pub policy: PolicyKind,
    /// When slots are set aside.
    pub commit: Commit,
    /// When mapped files are written.
    pub writeback: Writeback,
    /// How the stack grows.
    pub stack: StackRule,
    /// The directory whose files can be mapped.
    pub files: PathBuf,
    /// What things take in virtual time.
    pub costs: Costs,
    /// Whether [`View`](crate::View)s show in which order pages are to leave, which makes every
    /// fault cost as much as there are frames.
    pub watched: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            frames: 4,
            slots: 256,
            page_size: 64 << 10,
            arena: 16 << 20,
            base: 0x6_0000_0000,
            policy: PolicyKind::Clock,
            commit: Commit::Strict,
            writeback: Writeback::Exit,
            stack: StackRule::default(),
            files: PathBuf::from("."),
            costs: Costs::default(),
            watched: false,
        }
    }
}

/// The smallest page, and the largest.
const PAGE_SIZES: [u64; 2] = [512, 1 << 30];
/// The most frames.
const MAX_FRAMES: u64 = 1 << 20;
/// The most slots: the core below can name so many, and as many pages of files.
const MAX_SLOTS: u64 = 1 << 27;

impl Settings {
    /// Whether such a machine can be built.
    ///
    /// # Errors
    /// What is wrong, with the number, and what to do.
    pub fn check(&self) -> Result<(), String> {
        let Self { frames, slots, page_size, arena, base, .. } = *self;
        let [smallest, largest] = PAGE_SIZES;
        if !page_size.is_power_of_two() || !(smallest..=largest).contains(&page_size) {
            return Err(format!(
                "a page of {page_size} bytes: write a power of two from {smallest} to {largest}"
            ));
        }
        if !(2..=MAX_FRAMES).contains(&frames) {
            return Err(format!("{frames} frames: write a number from 2 (one holds zeros) to {MAX_FRAMES}"));
        }
        if slots > MAX_SLOTS {
            return Err(format!("{slots} swap slots: write a number up to {MAX_SLOTS}"));
        }
        if arena == 0 || !arena.is_multiple_of(page_size) {
            return Err(format!("an arena of {arena} bytes: write a multiple of the page size, {page_size}"));
        }
        if arena / page_size > MAX_SPACE_PAGES {
            let pages = arena / page_size;
            return Err(format!(
                "an arena of {pages} pages: at most {MAX_SPACE_PAGES} are possible; use larger pages"
            ));
        }
        self.costs.check()?;
        if !base.is_multiple_of(page_size) || base == 0 {
            return Err(format!(
                "an arena at {base:#x}: write a multiple of the page size, {page_size}, above 0"
            ));
        }
        if base.checked_add(arena).is_none_or(|end| end > USER_END) {
            return Err(format!(
                "an arena of {arena} bytes at {base:#x} ends above {USER_END:#x}; move it down"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_machines_are_refused_with_the_number() {
        assert_eq!(Settings::default().check(), Ok(()));
        let wrong = |change: &dyn Fn(&mut Settings), number: &str| {
            let mut settings = Settings::default();
            change(&mut settings);
            let message = settings.check().expect_err(number);
            assert!(message.contains(number), "{message} does not name {number}");
        };
        wrong(&|s| s.page_size = 256, "256");
        wrong(&|s| s.page_size = 3000, "3000");
        wrong(&|s| s.page_size = 0, "0 bytes");
        wrong(&|s| s.frames = 1, "1 frames");
        wrong(&|s| s.frames = 1 << 21, "2097152");
        wrong(&|s| s.slots = 1 << 40, "1099511627776");
        wrong(&|s| s.arena = 0, "0 bytes");
        wrong(&|s| s.arena = 65537, "65537");
        wrong(&|s| s.arena = 1 << 46, "1073741824 pages");
        wrong(&|s| s.base = 0x600_0001, "0x6000001");
        wrong(&|s| s.costs.copy = 1 << 40, "1099511627776 ns");
        wrong(&|s| s.base = u64::MAX - 65535, "0xffffffffffff0000");
        for page_size in [512, 4096, 1 << 20] {
            assert_eq!(Settings { page_size, ..Settings::default() }.check(), Ok(()));
        }
    }
}
