//! Reports as text that a person reads.

use crate::family::blocks::BlockState;
use crate::family::stats::{FamilyInfo, FamilyStats};
use crate::family::walk::{BlockInfo, Walk};
use core::fmt::{self, Display, Formatter};

/// The registered families as a report, in the order given.
#[derive(Clone, Copy, Debug)]
pub struct FamiliesReport<'a>(pub &'a [FamilyInfo]);

/// The numbers of families as a report, in the order given.
#[derive(Clone, Copy, Debug)]
pub struct UsageReport<'a>(pub &'a [FamilyStats]);

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl Display for FamiliesReport<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>12} {:>9}  family", "object bytes", "alignment")?;
        for family in self.0 {
            writeln!(f, "{:>12} {:>9}  {}", family.size, family.align, family.name.escape_debug())?;
        }
        Ok(())
    }
}

impl Display for UsageReport<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|stats| write!(f, "{stats}"))
    }
}

impl Display for FamilyStats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (name, size) = (self.family.name.escape_debug(), self.family.size);
        let of = self.page_bytes;
        writeln!(f, "family {name}, objects of {size} byte{}", plural(size))?;
        writeln!(
            f,
            "  blocks: {} free, {} used, {} in all",
            self.free_blocks, self.used_blocks, self.blocks
        )?;
        writeln!(f, "  pages: {} with {of} bytes, kernel calls: {}", self.pages, self.kernel_calls)?;
        writeln!(f, "  bytes: {} used, {} free", self.used_bytes, self.free_bytes)?;
        let (hard, soft) = (self.hard_bytes, self.soft_bytes);
        let lost = self.internal_fragmentation();
        writeln!(f, "  internal fragmentation: {lost} bytes, {hard} hard and {soft} soft")
    }
}

/// A neighbour's offset.
struct Neighbour(Option<usize>);

impl Display for Neighbour {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => f.pad(&offset.to_string()),
            None => f.pad("-"),
        }
    }
}

impl Display for BlockInfo {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            BlockState::Free => "free",
            BlockState::Used => "used",
        };
        let (previous, next) = (Neighbour(self.previous), Neighbour(self.next));
        let address = format_args!("{:#x}", self.address);
        write!(f, "{:>8} {:>8}  {state} {previous:>8} {next:>8}  {address}", self.offset, self.size)?;
        if self.hard > 0 {
            write!(f, "  hard fragmentation: {} bytes", self.hard)?;
        }
        if self.soft {
            write!(f, "  soft fragmentation: no object fits")?;
        }
        Ok(())
    }
}

impl Display for Walk {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (name, pages) = (self.family.name.escape_debug(), self.pages.len());
        write!(f, "family {name}, objects of {} byte{}", self.family.size, plural(self.family.size))?;
        if self.meta_size > 0 {
            write!(f, ", meta blocks of {} in the page", self.meta_size)?;
        }
        writeln!(f)?;
        for (number, page) in self.pages.iter().enumerate() {
            writeln!(f, "page {} of {pages} at {:#x}, {} bytes", number + 1, page.address, page.bytes)?;
            writeln!(f, "  offset     size  state previous     next  address")?;
            page.blocks.iter().try_for_each(|block| writeln!(f, "{block}"))?;
        }
        Ok(())
    }
}
