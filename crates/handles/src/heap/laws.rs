//! The laws of the heap, checked after every step of the model tests.

use super::VirtualHeap;
use super::state::{Entry, SPACE, page};
use crate::blocks::Hold;
use pager::space::Prot;
use std::collections::BTreeSet;

impl VirtualHeap {
    /// Checks every law, those of the core below included, at a cost linear in all tables. No
    /// call may be under way in another thread.
    ///
    /// # Panics
    /// If a law is broken:
    /// 1. every page of the virtual space is free or of one block, and blocks have the pages that
    ///    their sizes need;
    /// 2. the page table says what the core says;
    /// 3. a page in memory has bytes, once: those of its frame, or those of its gathered block,
    ///    all of whose pages that are in memory are there;
    /// 4. the memory that holds pages is that of the frames, and of one more while all are pinned;
    /// 5. pinned blocks are in memory and contiguous, and as many frames are pinned as they have
    ///    pages; every pin has a holder;
    /// 6. whatever is only in the store has a digest.
    pub fn check_invariants(&self) {
        let state = self.lock();
        state.spaces.check_invariants();
        let page_size = self.page_size();
        let mut owned = BTreeSet::new();
        let (mut pinned, mut pins, mut memory) = (0, 0, 0);
        for (first, block) in state.blocks.iter() {
            assert_eq!(block.pages.len(), block.size.div_ceil(page_size), "law 1: block {first}");
            assert!(block.pages.is_sorted() && block.pages.first() == Some(&first), "law 1: block {first}");
            for index in &block.pages {
                assert!(owned.insert(*index), "law 1: page {index} has two owners");
                let pte = state.spaces.pte(SPACE, page(*index)).expect("law 2: a block's page is mapped");
                let Entry { frame, prot } = state.entry(*index);
                assert_eq!(prot, pte.prot, "law 2: page {index}");
                assert!(prot == Prot::NONE || frame == pte.frame, "law 2: page {index}");
                if let Some(frame) = state.spaces.frame(SPACE, page(*index)) {
                    let frame = &state.frames[frame.0 as usize];
                    assert_eq!(frame.page, Some(*index), "law 3: page {index}");
                    let both = (frame.bytes.is_some(), block.gathered.is_some());
                    assert_ne!(
                        both.0, both.1,
                        "law 3: page {index} has bytes in its frame and gathered: {both:?}"
                    );
                }
            }
            let held = block.pages.iter().all(|index| state.spaces.frame(SPACE, page(*index)).is_some());
            if let Some(gathered) = &block.gathered {
                assert_eq!(gathered.len(), block.pages.len() * page_size, "law 3: block {first}");
                let away = |index: &&u32| state.spaces.frame(SPACE, page(**index)).is_none();
                memory += block.pages.len() - block.pages.iter().filter(away).count();
            }
            match &block.hold {
                Hold::Loose => {}
                Hold::Coming => panic!("law 5: block {first} is being pinned"),
                Hold::Pinned(by) => {
                    assert!(held, "law 5: block {first} is pinned and not in memory");
                    let contiguous = block.pages.len() == 1 || block.gathered.is_some();
                    assert!(contiguous && !by.by.is_empty(), "law 5: block {first}");
                    pinned += block.pages.len();
                    pins += by.by.len();
                }
            }
        }
        let free = state.blocks.freed().filter(|index| owned.insert(*index)).count();
        assert_eq!(free, state.blocks.freed().count(), "law 1: a page is free twice, or has an owner");
        assert_eq!(owned.len() + state.blocks.free() - free, self.pages(), "law 1: pages");
        assert_eq!((state.pinned, state.holders.pins()), (pinned, pins), "law 5");
        assert!(pinned <= self.frames(), "law 5: {pinned} frames are pinned");
        memory += state.frames.iter().filter(|frame| frame.bytes.is_some()).count();
        assert!(memory <= self.frames() + 1, "law 4: {memory} pages are in memory");
        for (slot, _) in state.spaces.slot_owners().filter(|(_, owners)| {
            owners.iter().all(|(space, page)| state.spaces.frame(*space, *page).is_none())
        }) {
            assert!(state.digests[slot.0 as usize].is_some(), "law 6: {slot:?}");
        }
    }
}
