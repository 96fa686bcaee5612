//! Random lists of actions against a model: a map from handles to bytes. Every result and every
//! byte is compared, every law is checked after every step, and a list that fails is made shorter.

mod common;

use common::{Faulty, PAGE, pattern};
use handles::{
    AccessError, AllocError, Handle, HandleError, PinError, Pinned, PolicyKind, ReleaseError, Space,
    StoreError, VirtualHeap,
};
use proptest::prelude::*;
use std::sync::atomic::Ordering::SeqCst;

/// One call. Blocks are chosen by number among those that are there, or were.
#[derive(Clone, Debug)]
enum Action {
    Alloc { size: usize },
    Free { block: usize },
    Read { block: usize, at: usize, len: usize },
    Write { block: usize, at: usize, len: usize, seed: u64 },
    Check { block: usize },
    Pin { block: usize },
    Unpin { pin: usize },
    Stale { handle: usize },
    Fail { reads: bool, writes: bool, lies: bool, tears: bool },
}

fn action(sizes: usize) -> impl Strategy<Value = Action> {
    let block = 0..64_usize;
    let range = (block.clone(), 0..sizes * 3 / 2, 0..sizes);
    prop_oneof![
        4 => (0..sizes + sizes / 4).prop_map(|size| Action::Alloc { size }),
        2 => block.clone().prop_map(|block| Action::Free { block }),
        6 => range.clone().prop_map(|(block, at, len)| Action::Read { block, at, len }),
        6 => (range, any::<u64>()).prop_map(|((block, at, len), seed)| Action::Write { block, at, len, seed }),
        2 => block.clone().prop_map(|block| Action::Check { block }),
        3 => block.clone().prop_map(|block| Action::Pin { block }),
        3 => block.clone().prop_map(|pin| Action::Unpin { pin }),
        1 => block.prop_map(|handle| Action::Stale { handle }),
        1 => (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(reads, writes, lies, tears)| Action::Fail { reads, writes, lies, tears }),
        1 => Just(Action::Fail { reads: false, writes: false, lies: false, tears: false }),
    ]
}

/// What a block should hold, and how often it is pinned.
struct Expected {
    handle: Handle,
    bytes: Vec<u8>,
    pins: usize,
}

struct Model<'h> {
    heap: &'h VirtualHeap,
    store: &'h Faulty,
    page_size: usize,
    blocks: Vec<Expected>,
    pins: Vec<Pinned<'h>>,
    stale: Vec<Handle>,
    failing: bool,
}

impl<'h> Model<'h> {
    fn pages(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.page_size)
    }

    fn pinned(&self) -> usize {
        self.blocks.iter().filter(|block| block.pins > 0).map(|block| self.pages(block.bytes.len())).sum()
    }

    fn free_pages(&self) -> usize {
        self.heap.pages() - self.blocks.iter().map(|block| self.pages(block.bytes.len())).sum::<usize>()
    }

    fn may_fail(&self, error: &StoreError) {
        assert!(self.failing, "{error} while the store works");
    }

    fn step(&mut self, action: &Action) {
        let count = self.blocks.len();
        match *action {
            Action::Alloc { size } => self.alloc(size),
            Action::Stale { handle } if !self.stale.is_empty() => {
                let handle = self.stale[handle % self.stale.len()];
                let stale = HandleError::Stale(handle);
                assert_eq!(self.heap.free(handle), Err(ReleaseError::Handle(stale)));
                let read = self.heap.read(handle, 0, &mut [0]);
                assert!(matches!(read, Err(AccessError::Handle(error)) if error == stale), "{read:?}");
            }
            Action::Unpin { pin } if !self.pins.is_empty() => {
                let pin = self.pins.swap_remove(pin % self.pins.len());
                let block = self.blocks.iter_mut().find(|block| block.handle == pin.handle());
                block.expect("a pinned block is there").pins -= 1;
            }
            Action::Fail { reads, writes, lies, tears } => {
                self.store.fail_reads.store(reads, SeqCst);
                self.store.fail_writes.store(writes, SeqCst);
                self.store.lie.store(lies, SeqCst);
                self.store.tear.store(tears, SeqCst);
                self.failing = reads || writes || lies;
            }
            Action::Free { block } if count > 0 => self.free(block % count),
            Action::Read { block, at, len } if count > 0 => self.read(block % count, at, len),
            Action::Write { block, at, len, seed } if count > 0 => self.write(block % count, at, len, seed),
            Action::Check { block } if count > 0 => self.check(block % count),
            Action::Pin { block } if count > 0 => self.pin(block % count),
            _ => {}
        }
    }

    fn alloc(&mut self, size: usize) {
        let (wanted, free) = (self.pages(size), self.free_pages());
        let most = self.heap.pages() * self.page_size;
        match self.heap.alloc(size) {
            Ok(handle) => {
                assert!(size > 0 && wanted <= free, "{size} bytes in {free} pages");
                assert!(
                    self.blocks.iter().all(|block| block.handle != handle) && !self.stale.contains(&handle)
                );
                self.blocks.push(Expected { handle, bytes: vec![0; size], pins: 0 });
            }
            Err(AllocError::Empty) => assert_eq!(size, 0),
            Err(AllocError::TooLarge { .. }) => assert!(size > most),
            Err(error) => assert_eq!((error, wanted > free), (AllocError::Full { wanted, free }, true)),
        }
    }

    fn free(&mut self, number: usize) {
        let Expected { handle, pins, .. } = self.blocks[number];
        if pins > 0 {
            assert_eq!(self.heap.free(handle), Err(ReleaseError::Pinned(handle)));
        } else {
            assert_eq!(self.heap.free(handle), Ok(()));
            self.stale.push(handle);
            self.blocks.swap_remove(number);
        }
    }

    fn read(&mut self, number: usize, at: usize, len: usize) {
        let Expected { handle, bytes, .. } = &self.blocks[number];
        let mut read = vec![0xaa; len];
        match self.heap.read(*handle, at, &mut read) {
            Ok(()) => assert!(at + len <= bytes.len() && read == bytes[at..at + len], "other bytes at {at}"),
            Err(AccessError::OutOfBounds { offset, len: asked, size }) => {
                assert!((offset, asked, size) == (at, len, bytes.len()) && at + len > size);
            }
            Err(AccessError::Store(error)) => self.may_fail(&error),
            Err(error) => panic!("{error}"),
        }
    }

    fn write(&mut self, number: usize, at: usize, len: usize, seed: u64) {
        let written = pattern(seed, len);
        let Expected { handle, bytes, .. } = &mut self.blocks[number];
        match self.heap.write(*handle, at, &written) {
            Ok(()) => bytes[at..at + len].copy_from_slice(&written),
            Err(AccessError::OutOfBounds { .. }) => assert!(at + len > bytes.len()),
            Err(AccessError::Store(error)) => {
                // Up to the page that failed it was written. Which page that was, is seen once
                // the store works: it must be one of them.
                assert!(self.failing, "{error} while the store works");
                let failing = [&self.store.fail_reads, &self.store.fail_writes, &self.store.lie];
                let before = failing.map(|flag| flag.swap(false, SeqCst));
                let mut now = vec![0; bytes.len()];
                self.heap.read(*handle, 0, &mut now).expect("the store works");
                failing.iter().zip(before).for_each(|(flag, before)| flag.store(before, SeqCst));
                let page = self.page_size;
                let ends = (at / page * page..at + len).step_by(page).map(|end| end.max(at));
                let possible = ends.into_iter().any(|end| {
                    let mut expected = bytes.clone();
                    expected[at..end].copy_from_slice(&written[..end - at]);
                    expected == now
                });
                assert!(possible, "a write that failed left something else than whole pages");
                *bytes = now;
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// What a pin of the block should lead to, if the store works.
    fn refusal(&self, number: usize) -> Option<(usize, usize)> {
        let block = &self.blocks[number];
        let (pages, free) = (self.pages(block.bytes.len()), self.heap.frames() - self.pinned());
        (block.pins == 0 && pages > free).then_some((pages, free))
    }

    fn refused(&self, number: usize, error: PinError) {
        match error {
            PinError::TooLarge { pages, frames } => {
                assert_eq!(
                    (pages, frames),
                    (self.pages(self.blocks[number].bytes.len()), self.heap.frames())
                );
                assert!(pages > frames);
            }
            PinError::Deadlock { pages, free } => assert_eq!(self.refusal(number), Some((pages, free))),
            PinError::Store(error) => self.may_fail(&error),
            PinError::Handle(error) => panic!("{error}"),
        }
    }

    fn pin(&mut self, number: usize) {
        let heap = self.heap;
        match heap.pin(self.blocks[number].handle) {
            Ok(pinned) => {
                assert_eq!(self.refusal(number), None);
                assert!(pinned.to_vec() == self.blocks[number].bytes, "other bytes");
                self.blocks[number].pins += 1;
                self.pins.push(pinned);
            }
            Err(error) => self.refused(number, error),
        }
    }

    fn check(&mut self, number: usize) {
        let heap = self.heap;
        match heap.check(self.blocks[number].handle) {
            Ok(address) => {
                assert_eq!(address as usize % 64, 0);
                if let Some(pin) = self.pins.iter().find(|pin| pin.handle() == self.blocks[number].handle) {
                    assert_eq!(address, pin.as_ptr());
                }
            }
            Err(error) => self.refused(number, error),
        }
    }

    fn compare(&self) {
        self.heap.check_invariants();
        assert_eq!(self.heap.pinned(), self.pinned());
        assert_eq!(self.heap.available(Space::Virtual), self.free_pages() * self.page_size);
        assert!(self.store.end.load(SeqCst) <= (self.heap.pages() * self.page_size) as u64);
        for pin in &self.pins {
            let block = self.blocks.iter().find(|block| block.handle == pin.handle());
            assert!(block.is_some_and(|block| block.bytes == pin.to_vec()), "other bytes under a pin");
        }
    }
}

fn run(frames: usize, pages: usize, page_size: usize, policy: PolicyKind, actions: &[Action]) {
    let store = Faulty::new();
    let builder = VirtualHeap::builder().page_size(page_size).policy(policy).store(store.clone());
    let builder = builder.physical(frames * page_size).virtual_size(pages * page_size);
    let heap = builder.build().expect("possible sizes");
    let mut model = Model {
        heap: &heap,
        store: &store,
        page_size,
        blocks: Vec::new(),
        pins: Vec::new(),
        stale: Vec::new(),
        failing: false,
    };
    for action in actions {
        model.step(action);
        model.compare();
    }
    model.step(&Action::Fail { reads: false, writes: false, lies: false, tears: false });
    for number in 0..model.blocks.len() {
        model.read(number, 0, model.blocks[number].bytes.len());
    }
    model.compare();
}

fn policy() -> impl Strategy<Value = PolicyKind> {
    let all: Vec<_> = PolicyKind::ALL.into_iter().filter(|policy| *policy != PolicyKind::Opt).collect();
    prop::sample::select(all)
}

/// Cases of each test: few where every step costs a thousand times as much.
const CASES: u32 = if cfg!(miri) { 2 } else { 500 };

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    /// Small pages, so that blocks of many pages are common.
    #[test]
    fn a_heap_of_small_pages_does_what_the_model_does(
        frames in 1..7_usize,
        pages in 1..24_usize,
        policy in policy(),
        actions in prop::collection::vec(action(5 * 512), 1..60),
    ) {
        run(frames, pages, 512, policy, &actions);
    }

    /// Mostly blocks of one page.
    #[test]
    fn a_heap_of_large_pages_does_what_the_model_does(
        frames in 1..6_usize,
        policy in policy(),
        actions in prop::collection::vec(action(PAGE + 100), 1..60),
    ) {
        run(frames, 12, PAGE, policy, &actions);
    }
}
