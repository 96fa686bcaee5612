#![expect(unsafe_code, reason = "kills a server and closes descriptors")]
//! One budget for several heaps and arenas: who waits for its pages gets them, all together never
//! have more, and what was there is right.

mod common;
mod members;

use allocator_api2::vec::Vec as HeapVec;
use common::{Held, MIB, PAGE, Random, passes, word};
use members::{is_over, name, servers_of, within};
use outcore::{
    Arena, Budget, BudgetError, BuildError, Heap, OpenError, ShareError, SharedArena, SharedError,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BUDGET: usize = 64 * MIB;
/// What each holds: more than all may have in memory.
const DATA: usize = 96 * MIB;
const WORDS: usize = PAGE / 8;

/// Something that shares a budget, filled with what belongs there.
struct Sharer {
    salt: u64,
    memory: Memory,
}

enum Memory {
    Heap(Heap, HeapVec<AtomicU64, Heap>),
    Arena(SharedArena),
}

impl Sharer {
    fn heap(budget: &Budget, salt: u64) -> Self {
        let heap = Heap::builder().share(budget).build().unwrap_or_else(|error| panic!("{error}"));
        let mut words = HeapVec::with_capacity_in(DATA / 8, heap.clone());
        words.extend((0..DATA / 8).map(|index| AtomicU64::new(word(salt, index))));
        Self { salt, memory: Memory::Heap(heap, words) }
    }

    fn arena(budget: &Budget, salt: u64, name: &str) -> Self {
        let made = Arena::create_shared(name, DATA as u64).share(budget).create();
        let arena = made.unwrap_or_else(|error| panic!("{error}"));
        members::words(&arena)
            .iter()
            .enumerate()
            .for_each(|(index, place)| place.store(word(salt, index), Ordering::Relaxed));
        Self { salt, memory: Memory::Arena(arena) }
    }

    fn words(&self) -> &[AtomicU64] {
        match &self.memory {
            Memory::Heap(_, words) => words,
            Memory::Arena(arena) => members::words(arena),
        }
    }

    /// Bytes of its pages that are in memory.
    fn in_memory(&self) -> usize {
        match &self.memory {
            Memory::Heap(heap, _) => {
                let stats = heap.stats();
                (stats.resident_bytes + stats.parked_bytes) as usize
            }
            Memory::Arena(arena) => {
                let stats = arena.stats().expect("numbers");
                (stats.resident_bytes + stats.parked_bytes) as usize
            }
        }
    }

    /// Reads words at random until it is told that it is enough.
    fn is_hot(&self, seed: u64, enough: &AtomicBool) {
        let mut random = Random(seed);
        let words = self.words();
        while !enough.load(Ordering::Relaxed) {
            let index = random.below(words.len() / WORDS) * WORDS + random.below(WORDS);
            assert_eq!(words[index].load(Ordering::Relaxed), word(self.salt, index), "word {index}");
        }
    }

    fn is_right(&self) {
        for (index, place) in self.words().iter().enumerate() {
            assert_eq!(place.load(Ordering::Relaxed), word(self.salt, index), "word {index}");
        }
    }
}

/// It is enough when this is dropped, by a panic too: who waits for the threads would wait for ever.
struct Until<'a>(&'a AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What all are told to use. Right after a burst of reads their buffers may take an eighth more, for
/// some milliseconds.
fn keeps(budget: &Budget) {
    let (used, bytes) = (budget.used(), budget.bytes());
    assert!(used <= bytes + bytes / 8, "{used} bytes of {bytes}");
}

/// Of what both have in memory, this share is the first one's. Whatever goes to and fro meanwhile,
/// both together are within the budget.
fn share_of(hot: &Sharer, idle: &Sharer, budget: &Budget) -> f64 {
    // What one gives the other may take between two looks, so that one of them is looked at twice.
    let (before, other, after) = (hot.in_memory(), idle.in_memory(), hot.in_memory());
    let sum = before.min(after) + other;
    assert!(sum <= budget.bytes() as usize, "{sum} bytes in memory of {}", budget.bytes());
    keeps(budget);
    after as f64 / (after + other) as f64
}

/// The one that is used gets 85 % of the frames from the other.
fn gets_nearly_everything(hot: &Sharer, idle: &Sharer, budget: &Budget, seed: u64) {
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let until = Until(&enough);
        scope.spawn(|| hot.is_hot(seed, &enough));
        let begun = Instant::now();
        let mut share = 0.0;
        while share < 0.85 && begun.elapsed() < Duration::from_secs(30) {
            share = share_of(hot, idle, budget);
            std::thread::sleep(Duration::from_millis(5));
        }
        println!("{:.0} % after {} ms", share * 100.0, begun.elapsed().as_millis());
        drop(until);
        assert!(share >= 0.85, "{share:.2} of the frames after {:?}: {budget:?}", begun.elapsed());
    });
}

#[test]
fn of_two_heaps_the_hot_one_gets_the_frames_and_gives_them_back() {
    let budget = Budget::new(BUDGET as u64).expect("a budget");
    let (one, other) = (Sharer::heap(&budget, 1), Sharer::heap(&budget, 2));
    assert_eq!(budget.sharers(), 2);
    for turn in 0..2 {
        gets_nearly_everything(&one, &other, &budget, 5 + turn);
        gets_nearly_everything(&other, &one, &budget, 7 + turn);
    }
    one.is_right();
    other.is_right();
    drop(one);
    within("a heap that is gone has a part", || budget.sharers() == 1);
    drop(other);
    within("a heap that is gone has a part", || budget.sharers() == 0);
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_heap_and_an_arena_share_likewise() {
    let name = name("budget");
    let budget = Budget::new(BUDGET as u64).expect("a budget");
    let (heap, arena) = (Sharer::heap(&budget, 3), Sharer::arena(&budget, 4, &name));
    for turn in 0..2 {
        gets_nearly_everything(&heap, &arena, &budget, 11 + turn);
        gets_nearly_everything(&arena, &heap, &budget, 13 + turn);
    }
    arena.is_right();
    heap.is_right();
    drop(arena);
    is_over(&name);
    within("an arena that is gone has a part", || budget.sharers() == 1);
}

#[test]
fn what_a_killed_server_had_others_get() {
    let name = name("budget-killed");
    let budget = Budget::new(BUDGET as u64).expect("a budget");
    let (arena, heap) = (Sharer::arena(&budget, 8, &name), Sharer::heap(&budget, 9));
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _until = Until(&enough);
        scope.spawn(|| heap.is_hot(3, &enough));
        let [server] = servers_of(&name)[..] else { panic!("not one server") };
        // SAFETY: the arena's server, which is alone with this number while it lives.
        unsafe { libc::kill(server.cast_signed(), libc::SIGKILL) };
        within("a server that was killed has a part", || budget.sharers() == 1);
        within("nobody got what it had", || heap.in_memory() > BUDGET * 85 / 100);
    });
    keeps(&budget);
    drop(arena);
    heap.is_right();
}

/// Down as well as up, while it is used and while it is not.
#[test]
fn a_budget_is_changed_while_it_is_used() {
    let budget = Budget::new(BUDGET as u64).expect("a budget");
    let (one, other) = (Sharer::heap(&budget, 5), Sharer::heap(&budget, 6));
    let holds = |bytes: usize| one.in_memory() + other.in_memory() <= bytes && budget.used() <= bytes as u64;
    let half = BUDGET / 2;
    budget.set(half as u64).expect("half");
    assert_eq!(budget.bytes(), half as u64);
    within("idle ones do not give", || holds(half));
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _until = Until(&enough);
        scope.spawn(|| one.is_hot(21, &enough));
        scope.spawn(|| other.is_hot(22, &enough));
        budget.set(3 * BUDGET as u64 / 2).expect("more");
        within("what was added is not used", || budget.used() as usize > BUDGET + BUDGET / 4);
        budget.set(half as u64).expect("half");
        within("busy ones do not give", || holds(half));
        // And so it stays.
        for _ in 0..50 {
            assert!(share_of(&one, &other, &budget) > 0.0);
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let refused = budget.set(8 * MIB as u64);
    let Err(BudgetError::InUse { given, least }) = refused else { panic!("{refused:?}") };
    assert!(given == 8 << 20 && (8 << 20..24 << 20).contains(&least), "{least}");
    budget.set(least).expect("what is needed");
    within("nothing is left above what is needed", || holds(least as usize));
    assert_eq!(budget.bytes(), least);
    one.is_right();
    other.is_right();
}

#[test]
fn what_is_no_budget_is_refused() {
    for given in [0, 1, (4 << 20) - 1] {
        let least = 4 << 20;
        assert_eq!(Budget::new(given).err(), Some(BudgetError::Small { given, least }));
    }
    for given in [1 << 39, u64::MAX] {
        assert!(matches!(Budget::new(given), Err(BudgetError::Large { given: told, .. }) if told == given));
    }
    let budget = Budget::new(6 << 20).expect("a budget");
    assert_eq!(budget.set(0), Err(BudgetError::Small { given: 0, least: 4 << 20 }));
    assert!(matches!(budget.set(u64::MAX), Err(BudgetError::Large { .. })));
    assert_eq!((budget.bytes(), budget.sharers()), (6 << 20, 0));
    let only = Heap::builder().share(&budget).build().unwrap_or_else(|error| panic!("{error}"));
    // What one heap needs leaves too little for another, or for an arena.
    let refused = Heap::builder().share(&budget).build();
    let Err(BuildError::Open(OpenError::SharedBudget { budget: all, left, least })) = refused else {
        panic!("{refused:?}")
    };
    let told = OpenError::SharedBudget { budget: all, left, least }.to_string();
    assert!(told.contains("make the budget larger, or drop one of them"), "{told}");
    assert!(all == 6 << 20 && left <= 2 << 20 && least >= 4 << 20, "{left} {least}");
    let refused = Arena::create_shared(&name("refused"), 1 << 20).share(&budget).create();
    assert_eq!(
        refused.err(),
        Some(ShareError::Arena(SharedError::NoRoom { budget: 6 << 20, left, least: 4 << 20 }))
    );
    assert_eq!(budget.sharers(), 1);
    let numbers: Vec<u64> = (0..1000).collect();
    let mut held = HeapVec::new_in(only.clone());
    held.extend(numbers.iter().copied());
    assert_eq!(held[..], numbers[..]);
    drop((held, only));
    // There is room again.
    let next = Heap::builder().share(&budget).build().unwrap_or_else(|error| panic!("{error}"));
    // Of both, what was said last counts.
    let own =
        Heap::builder().share(&budget).budget(5 << 20).build().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((budget.sharers(), own.stats().budget_bytes), (1, 5 << 20));
    drop((own, next));
}

#[test]
fn nothing_is_left_of_a_budget() {
    passes("leaves_nothing");
}

#[test]
#[ignore = "counts what the process has, and so runs alone"]
fn leaves_nothing() {
    let use_one = || {
        let budget = Budget::new(32 << 20).expect("a budget");
        let heap = Heap::builder().share(&budget).build().unwrap_or_else(|error| panic!("{error}"));
        let name = name("leaves");
        let arena = Arena::create_shared(&name, 16 << 20).share(&budget).create();
        let arena = arena.unwrap_or_else(|error| panic!("{error}"));
        let mut data = HeapVec::new_in(heap.clone());
        data.extend(0..4u64 << 20);
        arena.write(5000, b"all").expect("bytes");
        assert_eq!(budget.sharers(), 2);
        // A heap goes on with a budget that nobody else has.
        drop(budget);
        assert!(data.iter().copied().eq(0..4u64 << 20));
        drop((arena, data, heap));
        is_over(&name);
    };
    use_one();
    let before = Held::settled();
    for _ in 0..5 {
        use_one();
    }
    before.comes_back("after five budgets");
}

#[test]
fn a_closed_descriptor_is_told() {
    passes("closes_the_budget");
}

#[test]
#[ignore = "closes its descriptors, and so runs alone"]
fn closes_the_budget() {
    let budget = Budget::new(32 << 20).expect("a budget");
    // SAFETY: nobody in this process uses them any more.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
    let refused = Arena::create_shared(&name("closed"), 1 << 20).share(&budget).create();
    assert_eq!(refused.err(), Some(ShareError::Arena(SharedError::Budget(BudgetError::Closed))));
    // Nothing else needs it.
    let heap = Heap::builder().share(&budget).build().unwrap_or_else(|error| panic!("{error}"));
    budget.set(16 << 20).expect("less");
    let file = std::fs::File::open("/proc/self/status").expect("a file, by the same number");
    drop((heap, budget));
    assert!(std::io::read_to_string(file).expect("it is still open").contains("Name:"));
}

/// A forked child has its own heaps, in a budget that it inherits.
#[test]
fn a_forked_child_shares_its_parents_budget() {
    passes("forks_with_a_budget");
}

#[test]
#[ignore = "forks, and so runs alone"]
fn forks_with_a_budget() {
    let budget = Budget::new(16 << 20).expect("a budget");
    let heap = Heap::builder().share(&budget).build().unwrap_or_else(|error| panic!("{error}"));
    // SAFETY: the test's only thread but those that wait.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let own = Heap::builder().share(&budget).build();
        // SAFETY: without destructors, which are the parent's.
        unsafe { libc::_exit(if own.is_ok() && budget.sharers() == 2 { 7 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: a place for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(libc::WEXITSTATUS(status), 7, "{status}");
    // It ended without a word; whoever is short next finds out.
    let mut data = HeapVec::new_in(heap);
    data.extend(0..8u64 << 20);
    within("a child that has ended has a part", || {
        let sum: u64 = data.iter().sum();
        assert_eq!(sum, (0..8u64 << 20).sum::<u64>());
        budget.sharers() == 1
    });
}
