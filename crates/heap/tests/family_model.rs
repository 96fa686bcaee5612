#![expect(unsafe_code, reason = "drives an allocator")]
//! Random calls against a model, alone and from eight threads: blocks do not overlap, are
//! aligned, keep their contents, are zero where that is asked; what is wrong is refused
//! and changes nothing; every law holds after every call.

use heap::{AllocError, Anonymous, BadFree, BlockState, Choice, Families, FamilyId, Layout, Options};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Mutex;

const SIZES: [usize; 8] = [1, 5, 36, 56, 64, 300, 2500, 9000];
const THREADS: usize = 8;

#[derive(Clone, Debug)]
enum Call {
    Alloc { family: usize, units: usize, zeroed: bool },
    Free { which: usize },
    FreeAgain { which: usize },
    FreeInside { which: usize, into: usize },
    FreeForeign { address: usize },
    Trim,
}

fn call() -> impl Strategy<Value = Call> {
    let units = prop_oneof![10 => 1usize..4, 4 => 1usize..60, 1 => 1usize..2000, 1 => Just(0usize)];
    prop_oneof![
        12 => (0..=SIZES.len(), units, any::<bool>())
            .prop_map(|(family, units, zeroed)| Call::Alloc { family, units, zeroed }),
        9 => any::<usize>().prop_map(|which| Call::Free { which }),
        2 => any::<usize>().prop_map(|which| Call::FreeAgain { which }),
        2 => (any::<usize>(), any::<usize>()).prop_map(|(which, into)| Call::FreeInside { which, into }),
        1 => any::<usize>().prop_map(|address| Call::FreeForeign { address }),
        1 => Just(Call::Trim),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    let in_page = (prop_oneof![Just(4096usize), Just(8192)], prop_oneof![Just(28usize), Just(48)])
        .prop_map(|(page_size, meta_size)| Layout::InPage { page_size, meta_size });
    let layout = prop_oneof![Just(Layout::Outside), in_page];
    let choice = prop_oneof![Just(Choice::MostRoom), Just(Choice::BestFit)];
    (layout, choice).prop_map(|(layout, choice)| Options { layout, choice })
}

fn heap(options: Options) -> (Families<Anonymous>, Vec<(FamilyId, usize, usize)>) {
    let heap = Families::with_options(Anonymous::new(), options).expect("valid options");
    let mut families: Vec<(FamilyId, usize, usize)> = SIZES
        .iter()
        .map(|size| {
            // As much as every layout can give.
            let align = (1usize << size.trailing_zeros()).min(4);
            (heap.register_aligned(&format!("{size}"), *size, align).expect("a new name"), *size, align)
        })
        .collect();
    families.push((heap.bytes(), 1, 4));
    (heap, families)
}

/// A block that the model knows to be used.
#[derive(Clone, Copy, Debug)]
struct Live {
    bytes: usize,
    seed: u8,
    family: FamilyId,
}

/// Every 61st byte, and the last.
fn places(bytes: usize) -> impl Iterator<Item = usize> {
    (0..bytes).step_by(61).chain(bytes.checked_sub(1))
}

fn fill(address: usize, live: &Live) {
    for place in places(live.bytes) {
        // SAFETY: the block is used, and has that many bytes.
        unsafe { ((address + place) as *mut u8).write(live.seed ^ place as u8) };
    }
}

fn check_contents(address: usize, live: &Live) {
    for place in places(live.bytes) {
        // SAFETY: as above.
        let found = unsafe { ((address + place) as *const u8).read() };
        assert_eq!(found, live.seed ^ place as u8, "byte {place} of {live:?}");
    }
}

/// A block of `units` objects, checked for what it alone tells.
fn alloc(
    heap: &Families<Anonymous>,
    (family, size, align): (FamilyId, usize, usize),
    units: usize,
    zeroed: bool,
    seed: u8,
) -> Option<(usize, Live)> {
    let block = if zeroed { heap.calloc(family, units) } else { heap.alloc(family, units) };
    if units == 0 {
        assert_eq!(block, Err(AllocError::ZeroUnits));
        return None;
    }
    let (address, bytes) = (block.expect("memory").as_ptr().addr(), units * size);
    assert!(address.is_multiple_of(align));
    if zeroed {
        // SAFETY: the block is new, and has that many bytes.
        let contents = unsafe { std::slice::from_raw_parts(address as *const u8, bytes) };
        assert!(contents.iter().all(|byte| *byte == 0), "{units} units of {size} bytes are not zero");
    }
    let usable = heap.usable_size(address).expect("used");
    assert!(usable >= bytes && usable < bytes + 16, "{usable} for {bytes}");
    let live = Live { bytes: usable, seed, family };
    fill(address, &live);
    Some((address, live))
}

fn free(heap: &Families<Anonymous>, address: usize) -> Result<(), BadFree> {
    // SAFETY: the model does not use the block any more; else the call is refused.
    unsafe { heap.free(address as *mut u8) }
}

fn pick(live: &BTreeMap<usize, Live>, which: usize) -> Option<(usize, Live)> {
    live.iter().nth(which % live.len().max(1)).map(|(address, live)| (*address, *live))
}

fn run(options: Options, calls: Vec<Call>) {
    let (heap, families) = heap(options);
    let mut live: BTreeMap<usize, Live> = BTreeMap::new();
    let mut freed: Vec<usize> = Vec::new();
    let mut seed = 0u8;
    for call in calls {
        seed = seed.wrapping_add(37);
        match call {
            Call::Alloc { family, units, zeroed } => {
                let Some((address, new)) = alloc(&heap, families[family], units, zeroed, seed) else {
                    continue;
                };
                let before = live.range(..address).next_back();
                assert!(before.is_none_or(|(start, live)| start + live.bytes <= address), "overlaps");
                assert!(live.range(address..).next().is_none_or(|(next, _)| address + new.bytes <= *next));
                live.insert(address, new);
            }
            Call::Free { which } => {
                let Some((address, block)) = pick(&live, which) else { continue };
                check_contents(address, &block);
                assert_eq!(heap.locate(address).map(|found| found.family), Ok(block.family));
                assert_eq!(free(&heap, address), Ok(()));
                live.remove(&address);
                freed.push(address);
            }
            Call::FreeAgain { which } => {
                let Some(address) = freed.get(which % freed.len().max(1)).copied() else { continue };
                if !live.contains_key(&address) {
                    assert!(free(&heap, address).is_err());
                }
            }
            Call::FreeInside { which, into } => {
                let Some((start, block)) = pick(&live, which) else { continue };
                let address = start + into % block.bytes;
                if address != start {
                    assert_eq!(free(&heap, address), Err(BadFree::Interior { address, start }));
                }
            }
            Call::FreeForeign { address } => {
                if !live.contains_key(&address) {
                    assert!(free(&heap, address).is_err());
                }
            }
            Call::Trim => {
                heap.trim();
                assert_eq!(heap.cached_pages(), 0);
            }
        }
        assert_eq!(heap.check(), Ok(()));
    }
    // What a walk shows as used is what the model has.
    for (family, ..) in &families {
        let walk = heap.walk(*family).expect("registered");
        let used =
            walk.pages.iter().flat_map(|page| &page.blocks).filter(|block| block.state == BlockState::Used);
        let used: Vec<(usize, usize)> = used.map(|block| (block.address, block.size)).collect();
        let expected = live.iter().filter(|(_, live)| live.family == *family);
        assert_eq!(used, expected.map(|(address, live)| (*address, live.bytes)).collect::<Vec<_>>());
        let stats = heap.stats(*family).expect("registered");
        assert_eq!(
            stats.used_bytes,
            used.iter().map(|(_, size)| size + options.layout.meta_size()).sum::<usize>()
        );
    }
    for (address, block) in live {
        check_contents(address, &block);
        assert_eq!(free(&heap, address), Ok(()));
    }
    assert!(heap.all_stats().iter().all(|stats| (stats.pages, stats.blocks, stats.used_bytes) == (0, 0, 0)));
    assert_eq!(heap.check(), Ok(()));
}

/// One thread's calls; blocks go through the hands of all.
fn work(
    heap: &Families<Anonymous>,
    families: &[(FamilyId, usize, usize)],
    shared: &Mutex<BTreeMap<usize, Live>>,
    calls: &[Call],
    mut seed: u8,
) {
    for (number, call) in calls.iter().enumerate() {
        seed = seed.wrapping_add(37);
        match call {
            Call::Alloc { family, units, zeroed } => {
                let Some((address, new)) = alloc(heap, families[*family], *units, *zeroed, seed) else {
                    continue;
                };
                let mut shared = shared.lock().expect("no thread panics");
                let before = shared.range(..address).next_back();
                assert!(before.is_none_or(|(start, live)| start + live.bytes <= address), "overlaps");
                assert!(shared.range(address..).next().is_none_or(|(next, _)| address + new.bytes <= *next));
                shared.insert(address, new);
            }
            Call::Free { which } => {
                // Whoever takes it from the model is the one that frees it.
                let taken = {
                    let mut shared = shared.lock().expect("no thread panics");
                    pick(&shared, *which).inspect(|(address, _)| _ = shared.remove(address))
                };
                let Some((address, block)) = taken else { continue };
                check_contents(address, &block);
                assert_eq!(free(heap, address), Ok(()));
            }
            Call::FreeInside { which, into } => {
                // The lock keeps the block used meanwhile.
                let shared = shared.lock().expect("no thread panics");
                let Some((start, block)) = pick(&shared, *which) else { continue };
                let address = start + 1 + into % block.bytes.max(2);
                if address < start + block.bytes {
                    assert_eq!(free(heap, address), Err(BadFree::Interior { address, start }));
                }
            }
            Call::FreeAgain { .. } | Call::FreeForeign { .. } => {
                let local = 0u8;
                let address = (&raw const local).addr();
                assert_eq!(free(heap, address), Err(BadFree::Foreign { address }));
            }
            Call::Trim => _ = heap.trim(),
        }
        if number % 16 == 0 {
            assert_eq!(heap.check(), Ok(()));
        }
    }
}

fn run_threads(options: Options, lists: &[Vec<Call>]) {
    let (heap, families) = heap(options);
    let shared = Mutex::default();
    std::thread::scope(|scope| {
        for (id, calls) in lists.iter().enumerate() {
            let (heap, families, shared) = (&heap, &families, &shared);
            scope.spawn(move || work(heap, families, shared, calls, id as u8));
        }
    });
    assert_eq!(heap.check(), Ok(()));
    for (address, block) in shared.into_inner().expect("no thread panicked") {
        check_contents(address, &block);
        assert_eq!(free(&heap, address), Ok(()));
    }
    assert!(heap.all_stats().iter().all(|stats| (stats.pages, stats.blocks, stats.used_bytes) == (0, 0, 0)));
    assert_eq!(heap.check(), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_model(options in options(), calls in prop::collection::vec(call(), 1..300)) {
        run(options, calls);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_model_from_eight_threads(
        options in options(),
        lists in prop::collection::vec(prop::collection::vec(call(), 1..200), THREADS),
    ) {
        run_threads(options, &lists);
    }
}
