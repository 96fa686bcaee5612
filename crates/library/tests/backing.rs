//! Memory whose pages the program's own code supplies: right, failing, panicking, slow and stuck.

#![expect(unsafe_code, reason = "touches what cannot be had")]

mod common;

use allocator_api2::vec::Vec as PagedVec;
use common::{BUDGET, Held, MIB, PAGE, Random, dies_by_a_bus_error, heap, passes, word};
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use outcore::{Backing, BackingCall, BackingError, BackingOptions, FileError, Heap, MappedBacking};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Word n is `word(1, n)`; what is not to be had is not given.
#[derive(Default)]
struct Words {
    fails_at: Option<u64>,
    panics_at: Option<u64>,
}

impl Backing for Words {
    fn supply(&self, call: &BackingCall<'_>, bytes: &mut [u8]) -> Result<(), BackingError> {
        let range = call.offset()..call.offset() + bytes.len() as u64;
        if self.fails_at.is_some_and(|at| range.contains(&at)) {
            return Err("the shelf is empty".into());
        }
        assert!(!self.panics_at.is_some_and(|at| range.contains(&at)), "no such page");
        for (index, place) in (call.offset() as usize / 8..).zip(bytes.chunks_exact_mut(8)) {
            place.copy_from_slice(&word(1, index).to_le_bytes());
        }
        Ok(())
    }
}

fn read_word(map: &MappedBacking, index: usize) -> u64 {
    let mut bytes = [0; 8];
    map.read(8 * index, &mut bytes).expect("within");
    u64::from_le_bytes(bytes)
}

#[test]
fn computed_pages_are_right_in_order_and_at_random() {
    let heap = heap();
    let len = 4 * BUDGET;
    let map = heap.map_backing(Words::default(), BackingOptions::read_only(len).threads(3)).expect("mapped");
    assert!((0..len / 8).step_by(61).all(|index| read_word(&map, index) == word(1, index)));
    std::thread::scope(|threads| {
        for seed in 1..5 {
            let map = &map;
            threads.spawn(move || {
                let mut random = Random(seed);
                for _ in 0..3000 {
                    let index = random.below(len / 8);
                    assert_eq!(read_word(map, index), word(1, index));
                }
            });
        }
    });
    let stats = heap.stats();
    assert!(stats.file_reads > (len / PAGE) as u64 && stats.swap_outs == 0, "{stats}");
    assert!(stats.resident_bytes + stats.parked_bytes <= BUDGET as u64, "{stats}");
}

/// Bytes that are kept, and how they are taken back.
struct Kept {
    bytes: Arc<Mutex<Vec<u8>>>,
    taken_back: Arc<AtomicUsize>,
    refuses: Arc<AtomicBool>,
    synced: Arc<AtomicUsize>,
}

impl Kept {
    fn new(len: usize) -> Self {
        let mut random = Random(7);
        let bytes = (0..len / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        Self {
            bytes: Arc::new(Mutex::new(bytes)),
            taken_back: Arc::default(),
            refuses: Arc::default(),
            synced: Arc::default(),
        }
    }

    fn same(&self) -> Self {
        Self {
            bytes: Arc::clone(&self.bytes),
            taken_back: Arc::clone(&self.taken_back),
            refuses: Arc::clone(&self.refuses),
            synced: Arc::clone(&self.synced),
        }
    }
}

impl Backing for Kept {
    fn supply(&self, call: &BackingCall<'_>, bytes: &mut [u8]) -> Result<(), BackingError> {
        bytes.copy_from_slice(&self.bytes.lock().expect("sound")[call.offset() as usize..][..bytes.len()]);
        Ok(())
    }

    fn take_back(&self, call: &BackingCall<'_>, bytes: &[u8]) -> Result<(), BackingError> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err("no room on the shelf".into());
        }
        self.taken_back.fetch_add(bytes.len().div_ceil(PAGE), Ordering::Relaxed);
        self.bytes.lock().expect("sound")[call.offset() as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> Result<(), BackingError> {
        self.synced.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Against plain bytes, at four times the budget; the last page is not whole.
#[test]
fn what_is_changed_is_taken_back() {
    let len = 4 * BUDGET + 1000;
    let kept = Kept::new(len);
    let mut model = kept.bytes.lock().expect("sound").clone();
    let heap = heap();
    let map = heap.map_backing(kept.same(), BackingOptions::shared(len).name("the shelf")).expect("mapped");
    let mut random = Random(3);
    for step in 0..6000 {
        let start = random.below(len - 20);
        if step % 3 == 0 {
            let bytes: Vec<u8> = (0..20).map(|_| random.next() as u8).collect();
            map.write(start, &bytes).expect("written");
            model[start..start + 20].copy_from_slice(&bytes);
        } else {
            let mut bytes = [0; 20];
            map.read(start, &mut bytes).expect("read");
            assert_eq!(bytes, model[start..start + 20]);
        }
    }
    map.flush(..).expect("taken back");
    assert!(*kept.bytes.lock().expect("sound") == model);
    assert_eq!(kept.synced.load(Ordering::Relaxed), 1);
    let before = kept.taken_back.load(Ordering::Relaxed);
    let mut same = [0; 1];
    map.read(500, &mut same).expect("read");
    map.write(500, &same).expect("written");
    map.flush(..).expect("nothing to do");
    assert_eq!(kept.taken_back.load(Ordering::Relaxed), before, "the same bytes are no change");
    map.write(len - 3, b"end").expect("written");
    map.close().expect("taken back");
    model[len - 3..].copy_from_slice(b"end");
    assert!(*kept.bytes.lock().expect("sound") == model);
}

#[test]
fn private_changes_are_the_maps_alone() {
    let len = 2 * BUDGET;
    let kept = Kept::new(len);
    let before = kept.bytes.lock().expect("sound").clone();
    let heap = heap();
    let map = heap.map_backing(kept.same(), BackingOptions::private(len)).expect("mapped");
    for page in 0..len / PAGE {
        map.write(page * PAGE + 8, &(page as u64).to_le_bytes()).expect("written");
    }
    for page in 0..len / PAGE {
        let mut bytes = [0; 24];
        map.read(page * PAGE, &mut bytes).expect("read");
        assert_eq!(bytes[..8], before[page * PAGE..][..8]);
        assert_eq!(bytes[8..16], (page as u64).to_le_bytes());
        assert_eq!(bytes[16..], before[page * PAGE + 16..][..8]);
    }
    assert!(heap.stats().swap_outs > 0);
    drop(map);
    assert!(*kept.bytes.lock().expect("sound") == before && kept.taken_back.load(Ordering::Relaxed) == 0);
}

#[test]
fn what_is_not_taken_back_stays_and_is_told() {
    let kept = Kept::new(MIB);
    let heap = heap();
    let map = heap.map_backing(kept.same(), BackingOptions::shared(MIB).name("the shelf")).expect("mapped");
    map.write(5000, b"changed").expect("written");
    kept.refuses.store(true, Ordering::Relaxed);
    let refused = map.flush(..).map_err(|error| error.to_string());
    assert!(refused.as_ref().is_err_and(|text| text.contains("no room on the shelf")), "{refused:?}");
    let mut bytes = [0; 7];
    map.read(5000, &mut bytes).expect("read");
    assert_eq!(&bytes, b"changed");
    kept.refuses.store(false, Ordering::Relaxed);
    map.flush(..).expect("taken back");
    assert_eq!(&kept.bytes.lock().expect("sound")[5000..5007], b"changed");
    let failed = heap.map_backing(Words::default(), BackingOptions::shared(MIB)).expect("mapped");
    failed.write(0, b"x").expect("written");
    assert!(matches!(failed.close(), Err(FileError::WriteBack(_))));
}

/// Who is inside waits until the gate opens.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    inside: AtomicUsize,
    saw_cancelled: AtomicBool,
}

impl Gate {
    fn pass(&self, call: &BackingCall<'_>) {
        self.inside.fetch_add(1, Ordering::SeqCst);
        let mut open = self.open.lock().expect("sound");
        while !*open {
            open = self.opened.wait(open).expect("sound");
        }
        self.saw_cancelled.fetch_or(call.is_cancelled(), Ordering::SeqCst);
    }

    fn open(&self) {
        *self.open.lock().expect("sound") = true;
        self.opened.notify_all();
    }

    fn wait_inside(&self, least: usize) {
        let start = Instant::now();
        while self.inside.load(Ordering::SeqCst) < least {
            assert!(start.elapsed() < Duration::from_secs(20), "nobody came");
            std::thread::yield_now();
        }
    }
}

struct Gated {
    gate: Arc<Gate>,
    /// What waits: supplying, or taking back.
    supplies_at_once: bool,
}

impl Backing for Gated {
    fn supply(&self, call: &BackingCall<'_>, bytes: &mut [u8]) -> Result<(), BackingError> {
        if !self.supplies_at_once {
            self.gate.pass(call);
        }
        bytes.fill(9);
        Ok(())
    }

    fn take_back(&self, call: &BackingCall<'_>, _: &[u8]) -> Result<(), BackingError> {
        self.gate.pass(call);
        Ok(())
    }
}

/// Writes and reads four times the budget of other memory of the heap.
fn pages_as_ever(heap: &Heap) {
    let words = 4 * BUDGET / 8;
    let mut data: PagedVec<u64, Heap> = PagedVec::with_capacity_in(words, heap.clone());
    data.extend((0..words).map(|index| word(5, index)));
    assert!(data.iter().enumerate().all(|(index, found)| *found == word(5, index)));
}

#[test]
fn who_is_slow_holds_up_only_who_waits_for_it() {
    let heap = heap();
    let gate = Arc::new(Gate::default());
    let gated = Gated { gate: Arc::clone(&gate), supplies_at_once: false };
    let map = heap.map_backing(gated, BackingOptions::read_only(MIB)).expect("mapped");
    std::thread::scope(|threads| {
        let waits = threads.spawn(|| read_word(&map, 1000));
        gate.wait_inside(1);
        pages_as_ever(&heap);
        assert!(!waits.is_finished());
        gate.open();
        assert_eq!(waits.join().expect("no panic"), 0x0909_0909_0909_0909);
    });
}

/// Half the budget is dirty and cannot leave; the rest is paged all the same.
#[test]
fn who_takes_nothing_back_for_long_does_not_stop_paging() {
    let heap = heap();
    let gate = Arc::new(Gate::default());
    let gated = Gated { gate: Arc::clone(&gate), supplies_at_once: true };
    let map = heap.map_backing(gated, BackingOptions::shared(BUDGET / 2)).expect("mapped");
    for page in 0..BUDGET / 2 / PAGE {
        map.write(page * PAGE, b"dirty").expect("written");
    }
    pages_as_ever(&heap);
    gate.wait_inside(1);
    gate.open();
    map.close().expect("taken back");
}

#[test]
fn a_map_ends_while_a_call_is_under_way() {
    passes("ends_a_map");
}

#[test]
#[ignore = "counts threads and mappings: run by the test above"]
fn ends_a_map() {
    let gate = Arc::new(Gate::default());
    let before = Held::now();
    {
        let heap = heap();
        let gated = Gated { gate: Arc::clone(&gate), supplies_at_once: false };
        let map = heap.map_backing(gated, BackingOptions::read_only(MIB)).expect("mapped");
        map.advise(.., outcore::FileAdvice::WillNeed).expect("advised");
        gate.wait_inside(1);
        drop(map);
    }
    gate.open();
    // The C library keeps stacks for the next threads.
    let after = Held::with_threads(before.threads);
    assert_eq!((after.threads, after.descriptors), (before.threads, before.descriptors));
    assert!(gate.saw_cancelled.load(Ordering::SeqCst));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let heap = heap();
    let refused = heap.map_backing(Words::default(), BackingOptions::shared(0));
    assert!(matches!(refused, Err(FileError::Map(outcore::MapError::Empty))));
    let map = heap.map_backing(Words::default(), BackingOptions::read_only(100)).expect("mapped");
    assert!(matches!(map.write(0, b"x"), Err(FileError::ReadOnly)));
    assert!(matches!(map.read(99, &mut [0; 2]), Err(FileError::OutOfRange { .. })));
    assert_eq!(read_word(&map, 11), word(1, 11));
}

fn touch(map: &MappedBacking, offset: usize) -> u8 {
    // SAFETY: mapped; what cannot be had is a signal, which is what is tested.
    unsafe { map.as_ptr().add(offset).read_volatile() }
}

#[test]
fn a_page_that_is_not_supplied_is_a_bus_error() {
    let message =
        "page 700 of the shelf (from byte 2867200 on) cannot be had: the shelf is empty. Touching it";
    dies_by_a_bus_error("fails_to_supply", message);
}

#[test]
#[ignore = "is killed: run by the test above"]
fn fails_to_supply() {
    let heap = heap();
    let words = Words { fails_at: Some(700 * PAGE as u64 + 5), ..Words::default() };
    let options = BackingOptions::private(4 * MIB).name("the shelf");
    let map = heap.map_backing(words, options).expect("mapped");
    // Read ahead with its neighbours, it costs them nothing.
    for page in (0..1024).filter(|page| *page != 700) {
        assert_eq!(read_word(&map, page * PAGE / 8), word(1, page * PAGE / 8));
    }
    touch(&map, 700 * PAGE);
}

#[test]
fn a_panic_is_a_failure() {
    let message =
        "page 3 of the shelf (from byte 12288 on) cannot be had: it panicked: no such page. Touching it";
    dies_by_a_bus_error("panics_when_asked", message);
}

#[test]
#[ignore = "is killed: run by the test above"]
fn panics_when_asked() {
    let heap = heap();
    let words = Words { panics_at: Some(3 * PAGE as u64), ..Words::default() };
    let map = heap.map_backing(words, BackingOptions::read_only(MIB).name("the shelf")).expect("mapped");
    assert_eq!(read_word(&map, 0), word(1, 0));
    touch(&map, 3 * PAGE);
}

#[test]
fn who_waits_for_a_cancelled_call_gets_a_bus_error() {
    dies_by_a_bus_error(
        "is_cancelled",
        "page 0 of the shelf (from byte 0 on) cannot be had: it was cancelled.",
    );
}

#[test]
#[ignore = "is killed: run by the test above"]
fn is_cancelled() {
    let heap = heap();
    let gate = Arc::new(Gate::default());
    let gated = Gated { gate: Arc::clone(&gate), supplies_at_once: false };
    let map = heap.map_backing(gated, BackingOptions::read_only(MIB).name("the shelf")).expect("mapped");
    std::thread::scope(|threads| {
        threads.spawn(|| touch(&map, 0));
        gate.wait_inside(1);
        map.cancel();
    });
}

#[test]
fn after_cancelling_nothing_more_is_asked_for() {
    dies_by_a_bus_error(
        "was_cancelled",
        "page 9 of the shelf (from byte 36864 on) cannot be had: it was cancelled.",
    );
}

#[test]
#[ignore = "is killed: run by the test above"]
fn was_cancelled() {
    let heap = heap();
    let map =
        heap.map_backing(Words::default(), BackingOptions::read_only(MIB).name("the shelf")).expect("mapped");
    assert_eq!(read_word(&map, 0), word(1, 0));
    map.cancel();
    assert_eq!(read_word(&map, 0), word(1, 0));
    touch(&map, 9 * PAGE);
}
