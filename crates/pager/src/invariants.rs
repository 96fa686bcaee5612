//! The laws of the core, checked after every step of the model tests.

use crate::area::Sharing;
use crate::entry::State;
use crate::frames::Queue;
use crate::page::{FrameNo, PageNo, SlotNo};
use crate::pager::Pager;
use std::collections::{HashMap, HashSet};

impl Pager {
    /// Checks every law at a cost linear in all tables. Allocates.
    ///
    /// # Panics
    /// If a law is broken:
    /// 1. a page that names a frame is the page that the frame names, and the
    ///    frame is in the queue that fits the page's state;
    /// 2. a frame that is not free or orphaned is named by its page;
    /// 3. a slot is in use if and only if an entry or an orphan names it, and one does; a page
    ///    with a home names no other one, and one of a shared or read-only area that is in
    ///    memory names it;
    /// 4. the count of pages read ahead is right;
    /// 5. every touched page lies in an area: as many do as there are;
    /// 6. the count of writes under way is that of writing pages and orphaned writes.
    pub fn check_invariants(&self) {
        let mut used: HashSet<SlotNo> = HashSet::new();
        let mut holders: HashMap<FrameNo, PageNo> = HashMap::new();
        let (mut touched, mut ahead, mut writing) = (0, 0, 0);
        let mut check = |page: PageNo, state: State| {
            touched += 1;
            ahead += u32::from(state.is_ahead());
            let (frame, queue, slot) = match state {
                State::Untouched => unreachable!("touched pages only"),
                State::Resident { frame, slot } => {
                    let protected = self.frames.queue(frame) == Queue::Protected;
                    (Some(frame), if protected { Queue::Protected } else { Queue::Probation }, slot)
                }
                State::Parked { frame, slot, ahead: false } => (Some(frame), Queue::Parked, slot),
                State::Parked { frame, slot, ahead: true } => (Some(frame), Queue::Ahead, slot),
                State::Filling { frame, slot, .. } => (Some(frame), Queue::Transfer, Some(slot)),
                State::Writing { frame, slot, .. } => {
                    let cleaning = self.frames.queue(frame) == Queue::Cleaning;
                    writing += u32::from(!cleaning);
                    (Some(frame), if cleaning { Queue::Cleaning } else { Queue::Transfer }, Some(slot))
                }
                State::Swapped { slot } => (None, Queue::Free, Some(slot)),
                State::Poisoned => (None, Queue::Free, None),
            };
            if let Some(frame) = frame {
                assert_eq!(self.frames.page(frame), page, "law 1: {page:?} is {state:?}");
                assert_eq!(self.frames.queue(frame), queue, "law 1: {page:?} is {state:?}");
                assert!(holders.insert(frame, page).is_none(), "law 1: {frame:?} has two pages");
            }
            if let Some((home, sharing)) = self.home_area(page) {
                let own = slot == Some(home)
                    || (sharing == Sharing::Private && !slot.is_some_and(|s| self.slots.is_home(s)));
                assert!(own || frame.is_none(), "law 3: {page:?}, at home in {home:?}, is {state:?}");
                assert!(frame.is_some() || slot != Some(home), "law 3: {page:?} is at home and {state:?}");
            }
            if let Some(slot) = slot.filter(|slot| !self.slots.is_home(*slot)) {
                assert!(used.insert(slot), "law 3: {slot:?} is named twice");
            }
        };
        self.areas.iter().for_each(|area| self.table.for_each_touched(area.range, &mut check));
        let mut orphans = 0;
        for (frame, queue, page) in self.frames.all() {
            match queue {
                Queue::Free => {}
                Queue::Orphan => {
                    orphans += 1;
                    let slot = self.frames.orphan_slot(frame);
                    if !self.slots.is_home(slot) {
                        assert!(used.insert(slot), "law 3: {slot:?} is named twice");
                    }
                }
                Queue::Probation
                | Queue::Protected
                | Queue::Parked
                | Queue::Ahead
                | Queue::Transfer
                | Queue::Cleaning => {
                    assert_eq!(holders.get(&frame), Some(&page), "law 2: {frame:?} is {queue:?}");
                }
            }
        }
        for slot in &used {
            assert!(self.slots.is_in_use(*slot), "law 3: {slot:?} is free");
        }
        assert_eq!(self.slots.in_use() as usize, used.len(), "law 3: slots in use");
        assert_eq!(self.ahead, ahead, "law 4");
        assert_eq!(self.touched, touched, "law 5: touched pages, and those of them in areas");
        assert!(
            (writing..=writing + orphans).contains(&self.writing),
            "law 6: {} writes are counted, {writing} pages are writing, {orphans} frames are orphans",
            self.writing
        );
    }
}
