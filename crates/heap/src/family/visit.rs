//! Families as their pager looks at them: without waiting, allocating or touching pages.

use crate::family::directory::FamilyId;
use crate::family::families::Families;
use crate::source::PageSource;

/// Something about one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visited<'a> {
    /// Its name, and the bytes that its objects take. Comes first.
    Family {
        /// The name.
        name: &'a str,
        /// Bytes of used blocks.
        used_bytes: usize,
    },
    /// Pages that it holds.
    Pages {
        /// Where they begin.
        addr: usize,
        /// Their bytes.
        len: usize,
    },
}

impl<S: PageSource> Families<S> {
    /// Tells of the family of this number, and then of its pages; nothing if somebody is just
    /// changing it. Whether there is such a family. The family is locked meanwhile.
    pub fn visit(&self, number: u32, tell: &mut dyn FnMut(Visited<'_>)) -> bool {
        let Some(entry) = FamilyId::from_number(number).and_then(|id| self.directory.get(id)) else {
            return false;
        };
        if let Some(ledger) = entry.ledger_if_free() {
            tell(Visited::Family { name: &entry.name, used_bytes: ledger.counts.used_bytes });
            ledger.each_run(|run| tell(Visited::Pages { addr: run.start, len: run.len() }));
        }
        true
    }
}
