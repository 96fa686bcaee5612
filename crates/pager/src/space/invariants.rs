//! The laws of address spaces, checked after every step of the model tests.

use super::area::Share;
use super::backing::{Kind, SpaceNo};
use super::prot::Prot;
use super::{Spaces, ZERO_FRAME};
use crate::entry::State;
use crate::page::{FrameNo, PageNo};
use crate::pager::Commit;
use std::collections::{BTreeMap, BTreeSet};

impl Spaces {
    /// Checks every law, those of the core below included, at a cost linear in all tables.
    ///
    /// # Panics
    /// If a law is broken:
    /// 1. entries and mappings name each other;
    /// 2. entries lie in areas, and the counts of pages are right;
    /// 3. only file blocks are without mappings, and only while they hold a frame;
    /// 4. blocks and shared memory are found by their keys, and nothing else is;
    /// 5. what is dirty is in memory; what is being synced is in memory, and is of a file;
    /// 6. the core below has no touched page that is not a backing or the zeros;
    /// 7. frame 0 holds the zeros, which nobody may write;
    /// 8. an entry that can be written is of a referenced dirty page that is not to be copied;
    ///    no two processes can write one private page;
    /// 9. the slots promised are one a charged page and one a page of shared memory; under strict
    ///    commit they are no more than there are, and no fewer than are used;
    /// 10. what is pinned is in memory.
    pub fn check_invariants(&self) {
        self.pager.check_invariants();
        let mut mappings: BTreeMap<PageNo, BTreeSet<(SpaceNo, PageNo)>> = BTreeMap::new();
        let mut promised = 0;
        for (space, record) in &self.spaces {
            let areas = || record.areas.iter();
            assert_eq!(record.pages, areas().map(|area| area.range.count).sum::<u64>(), "law 2: {space:?}");
            let charged: u64 = areas().filter(|area| area.charged).map(|area| area.range.count).sum();
            assert_eq!(record.charged, charged, "law 2: {space:?}");
            promised += charged;
            for (page, backing) in &record.entries {
                mappings.entry(*backing).or_default().insert((*space, *page));
                let area = record.areas.find(*page);
                let area = area.unwrap_or_else(|| panic!("law 2: {page:?} of {space:?} is in no area"));
                self.check_entry(*space, *page, *backing, area.share);
            }
        }
        let mut touched = 1;
        for (page, backing) in self.backings.iter() {
            let named = mappings.remove(&page).unwrap_or_default();
            assert_eq!(backing.mappings, named, "law 1: {page:?}");
            let state = self.pager.state(page);
            touched += u64::from(state != State::Untouched);
            let held = self.frame_of(page).is_some();
            let in_transfer = matches!(state, State::Filling { .. } | State::Writing { .. });
            if named.is_empty() {
                assert!(backing.file().is_some() && (held || in_transfer), "law 3: {page:?} is {state:?}");
            }
            match backing.kind {
                Kind::Anonymous => assert_ne!(state, State::Untouched, "law 3: {page:?}"),
                Kind::Common(key) => {
                    assert_eq!(self.backings.find(key), Some(page), "law 4: {page:?}");
                    promised += u64::from(backing.file().is_none());
                }
            }
            let writing = matches!(state, State::Writing { .. });
            assert!(!backing.dirty || held || writing, "law 5: {page:?} is {state:?} and dirty");
            assert!(!backing.syncing || held && backing.file().is_some(), "law 5: {page:?} is {state:?}");
        }
        for (page, backing) in self.backings.iter().filter(|(_, backing)| backing.pins > 0) {
            let pins = backing.pins;
            assert!(self.frame_of(page).is_some(), "law 10: {page:?} has {pins} pins and no frame");
        }
        assert!(mappings.is_empty(), "law 1: entries without a backing: {mappings:?}");
        let common = self.backings.iter().filter(|(_, backing)| backing.kind != Kind::Anonymous).count();
        assert_eq!(self.backings.keys().len(), common, "law 4: keys");
        assert_eq!(self.pager.pages_touched(), touched, "law 6");
        let zeros = State::Resident { frame: ZERO_FRAME, slot: None };
        assert_eq!(self.pager.state(PageNo(0)), zeros, "law 7");
        if self.config.commit == Commit::Strict {
            assert_eq!(self.reserved, promised, "law 9: slots promised");
            assert!(promised <= u64::from(self.config.slots), "law 9: {promised} slots are promised");
            // Orphaned transfers keep their slots until they end.
            let orphans = u64::from(self.pager.frames_in_transfer());
            assert!(u64::from(self.pager.slots_used()) <= promised + orphans, "law 9: slots used");
        }
    }

    fn check_entry(&self, space: SpaceNo, page: PageNo, backing: PageNo, share: Share) {
        let pte = self.pte(space, page).expect("it lies in an area");
        if !pte.prot.contains(Prot::WRITE) {
            return;
        }
        let record = self.backings.get(backing);
        let state = self.pager.state(backing);
        let frame: FrameNo = pte.frame;
        assert!(
            matches!(state, State::Resident { frame: own, .. } if own == frame),
            "law 8: {page:?} is {state:?}"
        );
        assert_ne!(frame, ZERO_FRAME, "law 7: {page:?} of {space:?}");
        assert!(record.dirty, "law 8: {page:?} of {space:?} is clean");
        if share == Share::Private {
            assert_eq!(record.mappings.len(), 1, "law 8: {page:?} of {space:?}");
        }
    }
}
