//! Slots of one store that several pagers use: that of a process, and those of its forked
//! children.
//!
//! ```text
//! extents of slots    0         1         2         3
//! lease               parent    child     parent    nobody    who may give slots out
//! child's holdings    1100…     –         0100…     –         what it had from its parent
//! ```
//!
//! A pager gives out slots of the extents that it has leased, and of those alone. A forked
//! child begins without extents, and *holds* the slots that its parent had in use: a bit a
//! slot in a table that all can read. A slot that somebody else holds is not given out
//! again. So neither a fork nor the end of a process counts anything slot by slot: the one
//! copies a table of bits, the other makes it void. Whoever is killed at any point leaves
//! a slot held for too long at worst.
//!
//! The tables are memory that processes share; everything in them is an atomic word, and
//! whatever is read there is checked before it is used as a number.

use crate::slots::EXTENT_SLOTS;
use core::sync::atomic::{
    AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

/// Words of an extent's bits.
pub(crate) const EXTENT_WORDS: usize = EXTENT_SLOTS as usize / 64;

/// Holdings that have been published: changes whenever one has.
const BIRTHS: usize = 0;
/// Extents up to here have been leased at some time.
const HIGH: usize = 1;
const HEADER: usize = 8;

/// States of a member's word.
const ABSENT: u64 = 0;
const PRESENT: u64 = 1;
/// Present, and its holdings count.
const HEIR: u64 = 2;

/// How often holdings are read again that change meanwhile.
const TRIES: u32 = 4;

/// One pager of a lineage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberNo(pub u16);

impl MemberNo {
    fn index(self) -> usize {
        self.0.into()
    }
}

/// The tables that pagers of one store share. See the module's page.
#[derive(Clone, Copy, Debug)]
pub struct Lineage {
    members: &'static [AtomicU64],
    /// The number of the member that has the extent, and one.
    leases: &'static [AtomicU64],
    /// A bit a slot, for one member after the other.
    holdings: &'static [AtomicU64],
    header: &'static [AtomicU64],
}

fn extents(slots: u32) -> usize {
    slots.div_ceil(EXTENT_SLOTS) as usize
}

impl Lineage {
    /// Slots of a store come in multiples of this.
    pub const EXTENT: u32 = EXTENT_SLOTS;

    /// Pagers that there may be at once.
    pub const MEMBERS: usize = 96;

    /// Words that the tables for a store of so many slots take.
    pub fn words(slots: u32) -> usize {
        HEADER + Self::MEMBERS + extents(slots) * (1 + EXTENT_WORDS * Self::MEMBERS)
    }

    /// The lineage whose tables are in `words`, which are all zero before there is anybody.
    ///
    /// # Panics
    /// If there are fewer than [`Self::words`], or slots do not fill their extents.
    pub fn over(words: &'static [AtomicU64], slots: u32) -> Self {
        assert!(slots.is_multiple_of(EXTENT_SLOTS), "{slots} slots do not fill their extents");
        let (header, rest) = words.split_at(HEADER);
        let (members, rest) = rest.split_at(Self::MEMBERS);
        let (leases, rest) = rest.split_at(extents(slots));
        let holdings = &rest[..extents(slots) * EXTENT_WORDS * Self::MEMBERS];
        Self { members, leases, holdings, header }
    }

    /// Slots of the store.
    pub fn slots(&self) -> u32 {
        self.leases.len() as u32 * EXTENT_SLOTS
    }

    /// A number for a pager that holds nothing. None when all are taken.
    pub fn join(&self) -> Option<MemberNo> {
        let free = |word: &AtomicU64| word.compare_exchange(ABSENT, PRESENT, AcqRel, Relaxed).is_ok();
        self.members.iter().position(free).map(|index| MemberNo(index as u16))
    }

    /// Whether [`Self::join`] would find a number.
    pub fn has_room(&self) -> bool {
        self.members.iter().any(|word| word.load(Relaxed) == ABSENT)
    }

    /// Gives up all that `member` holds and leases. None of its transfers may be under way.
    pub fn leave(&self, member: MemberNo) {
        for lease in self.leases.iter().take(self.high()) {
            let _ = lease.compare_exchange(u64::from(member.0) + 1, 0, Release, Relaxed);
        }
        self.members[member.index()].store(ABSENT, Release);
    }

    /// Extents that have ever been leased. What others wrote there is not trusted.
    fn high(&self) -> usize {
        (self.header[HIGH].load(Acquire) as usize).min(self.leases.len())
    }

    fn holding(&self, member: usize, word: usize) -> &AtomicU64 {
        &self.holdings[member * self.leases.len() * EXTENT_WORDS + word]
    }

    /// Has `heir`, who has just joined and does nothing yet, hold what `held` says, a word of
    /// bits at a time. Who holds them now must not release any meanwhile.
    pub(crate) fn bequeath(&self, heir: MemberNo, held: impl Fn(usize) -> u64) {
        for word in 0..self.high() * EXTENT_WORDS {
            // All of them: another member may have had the number before.
            self.holding(heir.index(), word).store(held(word), Relaxed);
        }
        self.members[heir.index()].store(HEIR, Release);
        // Whoever has looked meanwhile looks again: see `held_by_others`.
        self.header[BIRTHS].fetch_add(1, AcqRel);
    }

    /// `member` no longer holds `slot`, if it did.
    pub(crate) fn let_go(&self, member: MemberNo, slot: u32) {
        if self.members[member.index()].load(Relaxed) != HEIR {
            return;
        }
        let (holding, bit) = (self.holding(member.index(), slot as usize / 64), 1 << (slot % 64));
        if holding.load(Relaxed) & bit != 0 {
            holding.fetch_and(!bit, Release);
        }
    }

    /// The slots of a word that others than `member` hold.
    ///
    /// Somebody may pass a slot on to an heir and release it while this goes through the
    /// members, so that it is seen in neither's holdings. But the heir's birth is counted
    /// in between, so a count that has not changed tells that this did not happen.
    pub(crate) fn held_by_others(&self, member: MemberNo, word: usize) -> u64 {
        for _ in 0..TRIES {
            let births = self.header[BIRTHS].load(Acquire);
            let heirs = self.members.iter().enumerate();
            let heirs = heirs.filter(|(index, word)| *index != member.index() && word.load(Acquire) == HEIR);
            let held = heirs.fold(0, |held, (index, _)| held | self.holding(index, word).load(Acquire));
            if self.header[BIRTHS].load(Acquire) == births {
                return held;
            }
        }
        !0
    }

    /// Leases an extent that nobody has: the first from `from` on, or from the beginning.
    pub(crate) fn lease(&self, member: MemberNo, from: usize) -> Option<usize> {
        let count = self.leases.len();
        let mine = u64::from(member.0) + 1;
        let free = |extent: &usize| {
            let lease = &self.leases[*extent];
            lease.load(Relaxed) == 0 && lease.compare_exchange(0, mine, AcqRel, Relaxed).is_ok()
        };
        let extent = (from.min(count)..count).chain(0..from.min(count)).find(free)?;
        self.header[HIGH].fetch_max(extent as u64 + 1, AcqRel);
        Some(extent)
    }

    /// Ends a lease. Its slots are nobody's, or others hold them.
    pub(crate) fn end_lease(&self, extent: usize) {
        self.leases[extent].store(0, Release);
    }
}

/// What one pager has leased of its lineage's slots.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    lineage: Lineage,
    member: MemberNo,
    /// Extents, in the order in which they were leased; room for all of them.
    leased: Vec<u32>,
    /// The same, a bit an extent.
    mine: Vec<u64>,
    /// Slots of leased extents that others held when it was last looked.
    foreign: Vec<u64>,
    /// Whether there may be such.
    any_foreign: bool,
    /// Where in `leased` the next search begins.
    cursor: usize,
    /// Where the next lease is looked for.
    next: usize,
}

/// Extents of which it is looked, in one search, what others still hold.
const LOOKS: usize = 64;

impl Leases {
    pub(crate) fn new(lineage: Lineage, member: MemberNo) -> Self {
        let extents = lineage.leases.len();
        Self {
            lineage,
            member,
            leased: Vec::with_capacity(extents),
            mine: vec![0; extents.div_ceil(64)],
            foreign: vec![0; extents * EXTENT_WORDS],
            any_foreign: false,
            cursor: 0,
            next: 0,
        }
    }

    /// Goes on as `member`, a forked child's pager: what was leased is its parent's.
    pub(crate) fn succeed(&mut self, member: MemberNo) {
        for extent in self.leased.drain(..) {
            self.mine[extent as usize / 64] = 0;
        }
        (self.member, self.any_foreign, self.cursor) = (member, false, 0);
    }

    /// Passes on to `heir` all that is held: `words` of bits.
    pub(crate) fn bequeath(&mut self, heir: MemberNo, held: impl Fn(usize) -> u64) {
        self.lineage.bequeath(heir, &held);
        for extent in &self.leased {
            let first = *extent as usize * EXTENT_WORDS;
            for word in first..first + EXTENT_WORDS {
                self.foreign[word] |= held(word);
            }
        }
        self.any_foreign = true;
    }

    /// Slots of leased extents.
    pub(crate) fn slots(&self) -> usize {
        self.leased.len() * EXTENT_SLOTS as usize
    }

    pub(crate) fn has(&self, extent: u32) -> bool {
        self.mine[extent as usize / 64] >> (extent % 64) & 1 != 0
    }

    /// Whether `slot` may be given out if it is not in use.
    pub(crate) fn may_give(&self, slot: u32) -> bool {
        self.has(slot / EXTENT_SLOTS) && self.foreign[slot as usize / 64] >> (slot % 64) & 1 == 0
    }

    pub(crate) fn let_go(&self, slot: u32) {
        self.lineage.let_go(self.member, slot);
    }

    /// A free slot, where it can be the first of 64 in a row that are. `taken` tells which
    /// of a word's slots are in use here, or not there; `in_use` how many are in all.
    pub(crate) fn find(&mut self, in_use: u32, taken: impl Fn(usize) -> u64) -> Option<u32> {
        let roomy = in_use as usize * 4 <= self.leased.len() * EXTENT_SLOTS as usize * 3;
        let run = |held: u64| held == 0;
        if roomy && let Some(slot) = self.search(self.leased.len(), false, &taken, run) {
            return Some(slot);
        }
        // What has never been used of the current extent, before another one is leased.
        let looks = if self.any_foreign { LOOKS } else { 1 };
        if let Some(slot) = self.search(looks, self.any_foreign, &taken, run) {
            return Some(slot);
        }
        // Full extents can be leased too: their lessee has gone, and others hold the rest.
        while let Some(extent) = self.lineage.lease(self.member, self.next) {
            self.next = extent + 1;
            self.leased.push(extent as u32);
            self.mine[extent / 64] |= 1 << (extent % 64);
            self.cursor = self.leased.len() - 1;
            self.any_foreign |= self.is_held_by_others(extent as u32);
            if let Some(slot) = self.search(1, false, &taken, run) {
                return Some(slot);
            }
        }
        self.search(self.leased.len(), true, &taken, run)
            .or_else(|| self.search(self.leased.len(), true, &taken, |held| held != !0))
    }

    /// The first free slot of a word that is `good`, in so many extents from the cursor on.
    fn search(
        &mut self,
        extents: usize,
        look: bool,
        taken: &impl Fn(usize) -> u64,
        good: impl Fn(u64) -> bool,
    ) -> Option<u32> {
        let count = self.leased.len();
        for step in 0..extents.min(count) {
            let at = (self.cursor + step) % count;
            let first = self.leased[at] as usize * EXTENT_WORDS;
            for word in first..first + EXTENT_WORDS {
                if look {
                    self.foreign[word] = self.lineage.held_by_others(self.member, word);
                }
                let held = self.foreign[word] | taken(word);
                if good(held) && held != !0 {
                    self.cursor = at;
                    return Some(word as u32 * 64 + held.trailing_ones());
                }
            }
        }
        self.cursor = if count == 0 { 0 } else { (self.cursor + extents.min(count)) % count };
        None
    }

    /// Looks whether others hold slots of an extent that is leased here.
    pub(crate) fn is_held_by_others(&mut self, extent: u32) -> bool {
        let first = extent as usize * EXTENT_WORDS;
        (first..first + EXTENT_WORDS).fold(false, |held, word| {
            self.foreign[word] = self.lineage.held_by_others(self.member, word);
            held | (self.foreign[word] != 0)
        })
    }

    /// Ends the lease of an extent of which no slot is in use here.
    pub(crate) fn give_back(&mut self, extent: u32) {
        if let Some(at) = self.leased.iter().position(|leased| *leased == extent) {
            self.leased.swap_remove(at);
            // The last one, which may be the current one, is there now.
            if self.cursor == self.leased.len() {
                self.cursor = at;
            }
            self.mine[extent as usize / 64] &= !(1 << (extent % 64));
            self.lineage.end_lease(extent as usize);
            self.next = self.next.min(extent as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a lineage of so many extents, and words of bits that are all clear.
    fn leases(extents: usize) -> (Leases, Vec<u64>) {
        let slots = extents as u32 * EXTENT_SLOTS;
        let words: Vec<AtomicU64> = (0..Lineage::words(slots)).map(|_| AtomicU64::new(0)).collect();
        let lineage = Lineage::over(words.leak(), slots);
        let member = lineage.join().expect("it is empty");
        (Leases::new(lineage, member), vec![0; extents * EXTENT_WORDS])
    }

    #[test]
    fn an_extent_is_used_up_before_the_next_one_is_leased() {
        let (mut leases, mut taken) = leases(8);
        let slots = 8 * EXTENT_SLOTS;
        for used in 0..slots / 64 {
            let slot = leases.find(64 * used, |word| taken[word]).expect("most are free");
            assert_eq!((slot % 64, taken[slot as usize / 64]), (0, 0), "not the first of 64 free ones");
            taken[slot as usize / 64] = !0;
            assert_eq!(leases.slots(), (64 * (used as usize + 1)).next_multiple_of(EXTENT_SLOTS as usize));
        }
        assert_eq!(leases.find(slots, |word| taken[word]), None);
    }

    #[test]
    fn giving_an_extent_back_does_not_lose_the_current_one() {
        let (mut leases, mut taken) = leases(8);
        let word = |leases: &mut Leases, taken: &mut Vec<u64>, used: u32| {
            let slot = leases.find(64 * used, |word| taken[word]).expect("most are free");
            taken[slot as usize / 64] = !0;
            slot
        };
        let last = (0..25).map(|used| word(&mut leases, &mut taken, used)).last();
        assert_eq!(last, Some(3 * EXTENT_SLOTS));
        taken[EXTENT_WORDS..2 * EXTENT_WORDS].fill(0);
        leases.give_back(1);
        assert_eq!(word(&mut leases, &mut taken, 24), 3 * EXTENT_SLOTS + 64);
    }
}
