//! Pagers that use one store: random forks and ends, in all states of pages. What a slot holds
//! is compared with the digest that its page's own pager has, so a slot that is given out
//! while anybody holds it is found by the next read.

use super::*;
use pager::Lineage;
use std::sync::atomic::AtomicU64;

fn lineage(slots: u32) -> Lineage {
    let words: Vec<AtomicU64> = (0..Lineage::words(slots)).map(|_| AtomicU64::new(0)).collect();
    Lineage::over(words.leak(), slots)
}

struct Family {
    lineage: Lineage,
    twins: Vec<(pager::MemberNo, Twin)>,
    random: Random,
}

impl Family {
    fn new(seed: u64, frames: u32, slots: u32) -> Self {
        let lineage = lineage(slots);
        let mut twin = Twin::new(seed, frames, slots, 0);
        let member = lineage.join().expect("nobody is there");
        twin.pager.join(lineage, member);
        Self { lineage, twins: vec![(member, twin)], random: Random(seed ^ 0xfeed) }
    }

    /// What a fork does: all memory is copied, transfers are the parent's.
    fn fork(&mut self, parent: usize) {
        let Some(heir) = self.lineage.join() else { return };
        let seed = self.random.next();
        let (_, twin) = &mut self.twins[parent];
        assert!(twin.pager.bequeath(heir));
        let mut child = Twin {
            pager: twin.pager.clone(),
            mapped: twin.mapped.clone(),
            pool: twin.pool.clone(),
            store: Rc::clone(&twin.store),
            file: twin.file.clone(),
            transfers: Vec::new(),
            model: twin.model.clone(),
            random: Random(seed),
            failing: 0,
            changing: None,
        };
        let pool = &mut child.pool;
        let changing = child.pager.succeed(heir, |frame| {
            pool.remove(&frame);
        });
        assert_eq!(changing, twin.changing.into_iter().collect::<Vec<_>>());
        changing.into_iter().for_each(|range| child.discard(range));
        child.check();
        self.twins.push((heir, child));
    }

    /// Its transfers end, and then all that it held is free.
    fn end(&mut self, index: usize) {
        let (member, mut twin) = self.twins.swap_remove(index);
        while !twin.transfers.is_empty() {
            twin.complete();
        }
        self.lineage.leave(member);
    }

    fn step(&mut self) {
        let index = self.random.below(self.twins.len() as u64) as usize;
        let page = self.random.below(PAGES);
        let bytes = self.random.next();
        let twin = &mut self.twins[index].1;
        match bytes % 16 {
            0..=3 => {
                (page..PAGES.min(page + 30)).for_each(|page| twin.write(PageNo(HOME + page), bytes ^ page))
            }
            4..=8 => (page..PAGES.min(page + 40)).for_each(|page| twin.read(PageNo(HOME + page))),
            9 | 10 => twin.read(PageNo(HOME + page)),
            11 => twin.reclaim(3),
            12 => {
                let count = (PAGES - page).min(50);
                twin.discard(PageRange { start: PageNo(HOME + page), count });
            }
            13 => {
                // The store forgets what nobody needs.
                while let Some((start, count)) = twin.pager.take_stale_slots() {
                    for slot in start.0..start.0 + count {
                        twin.store.borrow_mut().remove(&SlotNo(slot));
                    }
                    twin.pager.stale_slots_are_forgotten(start);
                }
            }
            14 => {
                let range = PageRange { start: PageNo(HOME + page), count: (PAGES - page).min(7) };
                twin.begin_change(range);
            }
            _ if self.random.below(3) == 0 => {
                if self.random.below(2) == 0 || self.twins.len() == 1 {
                    self.fork(index);
                } else {
                    self.end(index);
                }
            }
            _ => twin.complete(),
        }
        self.twins.iter().for_each(|(_, twin)| twin.check());
    }
}

#[test]
fn whoever_forks_and_ends_everybody_keeps_every_byte() {
    for seed in 300..308 {
        println!("seed {seed}");
        let mut family = Family::new(seed, 40, 16384);
        (0..steps() * 3).for_each(|_| family.step());
        // Every byte of everybody, and then nothing is left in use.
        for (_, twin) in &mut family.twins {
            twin.end_change();
            (0..PAGES).for_each(|page| twin.read(PageNo(HOME + page)));
        }
        while family.twins.len() > 1 {
            family.end(0);
        }
        let (_, twin) = &mut family.twins[0];
        twin.discard(PageRange { start: PageNo(HOME), count: PAGES });
        while !twin.transfers.is_empty() {
            twin.complete();
        }
        twin.check();
        assert_eq!(twin.pager.slots_used(), 0);
    }
}

/// All extents but one are the parent's or hold what the child needs.
#[test]
fn a_store_that_is_nearly_full_is_shared_and_loses_nothing() {
    for seed in 400..404 {
        println!("seed {seed}");
        let mut family = Family::new(seed, 32, 1024);
        (0..steps()).for_each(|_| family.step());
    }
}

#[test]
fn what_a_child_lets_go_its_parent_gives_out_again() {
    let mut family = Family::new(1, 32, 512);
    let all = PageRange { start: PageNo(HOME), count: PAGES };
    let fill = |twin: &mut Twin, word: u64| {
        all.pages().for_each(|page| twin.write(page, word + page.0));
    };
    fill(&mut family.twins[0].1, 1);
    family.fork(0);
    family.end(1);
    // Without what the child held the store would be too small for this.
    fill(&mut family.twins[0].1, 1 << 32);
    assert_eq!(family.twins[0].1.pager.frame_limit(), 32, "the store was full");
    family.fork(0);
    let (_, child) = &mut family.twins[1];
    child.discard(all);
    fill(&mut family.twins[0].1, 1 << 33);
    assert_eq!(family.twins[0].1.pager.frame_limit(), 32, "the store was full");
}
