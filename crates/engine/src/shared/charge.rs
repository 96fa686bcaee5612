//! What of an arena is mapped in a member that would count it a second time.
//!
//! A process of a tree counts all that is resident in it, and the arena's pages are. Where the
//! arena has its part of the same budget they are counted there, once, and the server lends them to
//! those who have them mapped: it alone maps pages and takes them out, so it knows which are.

use core::cell::RefCell;
use pager::PageRange;
use sys::ledger::Loan;

/// One view's loan. Void when it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    loan: Loan,
    mapped: RefCell<Mapped>,
}

/// A bit for each page of the arena, from its first on, and how many are set.
#[derive(Debug)]
struct Mapped {
    bits: Vec<u64>,
    pages: u64,
}

const BITS: u64 = u64::BITS as u64;

impl Charge {
    /// Of an arena of so many pages, none of which is mapped.
    pub(crate) fn new(loan: Loan, pages: u64) -> Self {
        // Zeros: what is never set takes no memory.
        let bits = vec![0; pages.div_ceil(BITS) as usize];
        Self { loan, mapped: RefCell::new(Mapped { bits, pages: 0 }) }
    }

    /// Pages, counted from the arena's first, are mapped in the view now, or were before.
    pub(crate) fn mapped(&self, first: u64, count: u64) {
        self.change(first, count, |word, mask| *word |= mask);
    }

    /// They are not mapped any more, if they were.
    pub(crate) fn unmapped(&self, first: u64, count: u64) {
        self.change(first, count, |word, mask| *word &= !mask);
    }

    fn change(&self, first: u64, count: u64, change: impl Fn(&mut u64, u64)) {
        let mut mapped = self.mapped.borrow_mut();
        let (before, end) = (mapped.pages, first + count);
        let mut at = first;
        while at < end {
            let (word, bit) = ((at / BITS) as usize, at % BITS);
            let len = (BITS - bit).min(end - at);
            let mask = (u64::MAX >> (BITS - len)) << bit;
            let was = mapped.bits[word].count_ones();
            change(&mut mapped.bits[word], mask);
            let is = mapped.bits[word].count_ones();
            mapped.pages = mapped.pages + u64::from(is) - u64::from(was);
            at += len;
        }
        if mapped.pages != before {
            self.loan.set(mapped.pages * crate::PAGE as u64);
        }
    }
}

/// Of a range of the core's pages, the first page's number in the arena, and how many there are.
pub(crate) fn within(arena: PageRange, range: PageRange) -> (u64, u64) {
    (range.start.0 - arena.start.0, range.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::ledger::Ledger;

    #[test]
    fn pages_are_lent_once_each() {
        let (_file, ledger) = Ledger::create(1 << 30).unwrap();
        let member = ledger.sit(std::process::id()).unwrap();
        let server = ledger.sit_for_areas().unwrap();
        let charge = Charge::new(server.lend(std::process::id()).unwrap(), 1000);
        let lent = || member.borrowed() / crate::PAGE as u64;
        charge.mapped(0, 1);
        charge.mapped(60, 200);
        charge.mapped(100, 10);
        assert_eq!(lent(), 201);
        charge.unmapped(50, 20);
        assert_eq!(lent(), 191);
        charge.mapped(999, 1);
        charge.mapped(64, 64);
        charge.unmapped(300, 600);
        assert_eq!(lent(), 198);
        charge.unmapped(0, 1000);
        assert_eq!(lent(), 0);
        charge.mapped(0, 1000);
        assert_eq!(lent(), 1000);
        drop(charge);
        assert_eq!(lent(), 0);
    }
}
