#![expect(unsafe_code, reason = "borrows maps as slices, where nobody else uses them")]
//! Mapped files against plain bytes and against what read(2) says.

mod common;

use common::{BUDGET, MIB, PAGE, Random, builder, heap};
use outcore::{Fallbacks, FileAdvice, FileError, Heap, MapError, MapOptions, MappedFile};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

fn temporary() -> File {
    tempfile::tempfile_in("/var/tmp").expect("a file")
}

fn bytes(salt: u64, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|n| common::word(salt, n).to_ne_bytes()).collect();
    bytes.truncate(len);
    bytes
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = temporary();
    file.write_all(bytes).expect("written");
    file.sync_all().expect("synced");
    file
}

fn contents(file: &File) -> Vec<u8> {
    let mut all = vec![0; file.metadata().expect("facts").len() as usize];
    file.read_exact_at(&mut all, 0).expect("read");
    all
}

fn assert_same(found: &[u8], wanted: &[u8]) {
    assert_eq!(found.len(), wanted.len());
    if let Some(at) = found.iter().zip(wanted).position(|(a, b)| a != b) {
        panic!("byte {at} (page {}) is {} and should be {}", at / PAGE, found[at], wanted[at]);
    }
}

fn all_of(map: &MappedFile) -> Vec<u8> {
    let mut all = vec![0; map.len()];
    map.read(0, &mut all).expect("in range");
    all
}

#[test]
fn a_file_eight_times_the_budget_reads_as_it_is() {
    let data = bytes(1, 8 * BUDGET + 1234);
    let file = file_of(&data);
    for options in [MapOptions::read_only(), MapOptions::shared(), MapOptions::private()] {
        let heap = heap();
        let map = heap.map_file(&file, options).expect("a map");
        assert_same(&all_of(&map), &data);
        let mut random = Random(5);
        for _ in 0..5000 {
            let at = random.below(data.len() - 100);
            let mut some = [0; 100];
            map.read(at, &mut some).expect("in range");
            assert_eq!(some, data[at..at + 100]);
        }
        let stats = heap.stats();
        assert!(stats.resident_bytes + stats.parked_bytes <= BUDGET as u64, "{stats}");
        assert!(stats.file_reads as usize >= 8 * BUDGET / PAGE, "{stats}");
        assert_eq!((stats.file_writes, stats.swap_outs), (0, 0), "clean pages are never written: {stats}");
        map.close().expect("closed");
    }
    assert_same(&contents(&file), &data);
}

#[test]
fn what_is_written_to_a_shared_map_reaches_the_file_and_of_a_private_one_never() {
    let mut data = bytes(2, 4 * BUDGET + 77);
    let file = file_of(&data);
    let heap = heap();
    let shared = heap.map_file(&file, MapOptions::shared()).expect("a map");
    let private = heap.map_file(&file, MapOptions::private()).expect("a map");
    let mut own = data.clone();
    let mut random = Random(9);
    for step in 0..3000u64 {
        let len = 1 + random.below(3 * PAGE);
        let at = random.below(data.len() - len);
        let new = bytes(step + 10, len);
        if step % 2 == 0 {
            shared.write(at, &new).expect("in range");
            data[at..at + len].copy_from_slice(&new);
        } else {
            private.write(at, &new).expect("in range");
            own[at..at + len].copy_from_slice(&new);
        }
    }
    // A private page that was not written may have the file's new bytes, as with mmap(2): which
    // pages these are is known only for those that were written.
    shared.flush(..).expect("flushed");
    assert_same(&contents(&file), &data);
    assert_same(&all_of(&shared), &data);
    let stats = heap.stats();
    assert!(stats.file_writes > 0 && stats.swap_outs > 0, "{stats}");
    shared.close().expect("closed");
    private.close().expect("closed");
    assert_same(&contents(&file), &data);
}

#[test]
fn private_pages_keep_what_was_written_to_them() {
    let data = bytes(3, 4 * BUDGET);
    let file = file_of(&data);
    let heap = heap();
    let mut map = heap.map_file(&file, MapOptions::private()).expect("a map");
    let mut own = data.clone();
    {
        // SAFETY: nobody else uses the map or the file.
        let slice = unsafe { map.as_mut_slice() };
        for (page, bytes) in slice.chunks_mut(PAGE).enumerate() {
            match page % 4 {
                0 => bytes.fill(0),
                1 => bytes[17] ^= 0xff,
                _ => {}
            }
        }
    }
    for (page, bytes) in own.chunks_mut(PAGE).enumerate() {
        match page % 4 {
            0 => bytes.fill(0),
            1 => bytes[17] ^= 0xff,
            _ => {}
        }
    }
    for _ in 0..2 {
        assert_same(&all_of(&map), &own);
    }
    map.flush(..).expect("nothing to do");
    assert_same(&contents(&file), &data);
    assert_eq!(heap.stats().file_writes, 0);
}

/// Maps of one file, and what they should hold.
struct Model {
    heap: Heap,
    file: File,
    data: Vec<u8>,
    maps: Vec<(MappedFile, usize, bool)>,
    random: Random,
}

impl Model {
    fn map(&mut self) {
        let pages = self.data.len().div_ceil(PAGE);
        let from = self.random.below(pages);
        let offset = from * PAGE;
        let len = 1 + self.random.below(self.data.len() - offset);
        let writable = self.random.below(3) > 0;
        let options = if writable { MapOptions::shared() } else { MapOptions::read_only() };
        let map = self.heap.map_file(&self.file, options.offset(offset as u64).len(len)).expect("a map");
        self.maps.push((map, offset, writable));
    }

    fn step(&mut self) {
        if self.maps.len() < 2 {
            return self.map();
        }
        let which = self.random.below(self.maps.len());
        let kind = self.random.below(100);
        let len = self.maps[which].0.len();
        let at = self.random.below(len);
        let most = (len - at).min(if kind.is_multiple_of(7) { 50 * PAGE } else { 200 });
        let count = 1 + self.random.below(most);
        let (map, offset, writable) = &self.maps[which];
        match kind {
            0 if self.maps.len() < 6 => self.map(),
            1 => drop(self.maps.swap_remove(which)),
            2 => {
                let (map, ..) = self.maps.swap_remove(which);
                map.close().expect("closed");
            }
            3 | 4 => {
                map.flush(at..at + count).expect("flushed");
                let from = offset + at;
                let mut found = vec![0; count];
                self.file.read_exact_at(&mut found, from as u64).expect("read");
                assert_same(&found, &self.data[from..from + count]);
            }
            5 => map.advise(at..at + count, FileAdvice::Cold).expect("in range"),
            6 => map.advise(at..at + count, FileAdvice::WillNeed).expect("in range"),
            7 => map.advise(at..at + count, FileAdvice::Sequential).expect("in range"),
            8 => map.advise(at..at + count, FileAdvice::Random).expect("in range"),
            9..=50 if *writable => {
                let new = bytes(self.random.next(), count);
                map.write(at, &new).expect("in range");
                self.data[offset + at..offset + at + count].copy_from_slice(&new);
            }
            _ => {
                let mut found = vec![0; count];
                map.read(at, &mut found).expect("in range");
                assert_same(&found, &self.data[offset + at..offset + at + count]);
            }
        }
    }
}

fn random_operations(seed: u64, fallbacks: Fallbacks, steps: usize) {
    println!("seed {seed}");
    let data = bytes(seed, 8 * BUDGET + 3 * PAGE + 1000);
    let file = file_of(&data);
    let heap = builder().fallbacks(fallbacks).build().expect("a heap");
    let mut model = Model { heap, file, data, maps: Vec::new(), random: Random(seed) };
    for _ in 0..steps {
        model.step();
    }
    for (map, ..) in model.maps.drain(..) {
        map.close().expect("closed");
    }
    assert_same(&contents(&model.file), &model.data);
    let stats = model.heap.stats();
    assert_eq!((stats.resident_bytes, stats.parked_bytes, stats.swapped_bytes), (0, 0, 0), "{stats}");
}

#[test]
fn several_maps_of_one_file_are_one_file() {
    for seed in 1..4 {
        random_operations(seed, Fallbacks::default(), 4000);
    }
}

#[test]
fn several_maps_of_one_file_by_other_means() {
    random_operations(7, Fallbacks { threads: true, ..Fallbacks::default() }, 1500);
    random_operations(8, Fallbacks { copy: true, ..Fallbacks::default() }, 1500);
}

#[test]
fn the_end_of_a_file_in_a_page() {
    for len in [1, 5, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 4000] {
        let data = bytes(4, len);
        let file = file_of(&data);
        let heap = heap();
        for options in [MapOptions::shared(), MapOptions::private(), MapOptions::read_only()] {
            // All of the last page may be mapped.
            let pages = len.next_multiple_of(PAGE);
            let map = heap.map_file(&file, options.len(pages)).expect("a map");
            let found = all_of(&map);
            assert_same(&found[..len], &data);
            assert!(found[len..].iter().all(|byte| *byte == 0), "past the end is zero");
            if options != MapOptions::read_only() && pages > len {
                map.write(len, &[9]).expect("in memory");
                map.write(len - 1, &[data[len - 1]]).expect("in memory");
            }
            map.flush(..).expect("flushed");
            map.close().expect("closed");
            assert_same(&contents(&file), &data);
        }
    }
}

#[test]
fn what_cannot_be_mapped_is_told() {
    let file = file_of(&bytes(5, 10_000));
    let heap = heap();
    let refused = |file: &File, options: MapOptions| match heap.map_file(file, options) {
        Err(FileError::Map(error)) => error,
        other => panic!("{other:?}"),
    };
    let shared = MapOptions::shared();
    assert_eq!(refused(&file, shared.len(0)), MapError::Empty);
    assert_eq!(refused(&file, shared.offset(100).len(10)), MapError::Offset { offset: 100 });
    assert_eq!(refused(&file, shared.len(12_289)), MapError::PastEnd { end: 12_289, len: 10_000 });
    assert_eq!(refused(&file, shared.offset(12_288).len(1)), MapError::PastEnd { end: 12_289, len: 10_000 });
    let huge = shared.offset(u64::MAX / PAGE as u64 * PAGE as u64).len(usize::MAX);
    assert!(matches!(refused(&file, huge), MapError::PastEnd { .. }));
    assert_eq!(refused(&temporary(), shared), MapError::Empty);
    let (pipe, _end) = std::io::pipe().expect("a pipe");
    assert_eq!(refused(&File::from(std::os::fd::OwnedFd::from(pipe)), shared.len(1)), MapError::NotAFile);
    let named = tempfile::NamedTempFile::new_in("/var/tmp").expect("a file");
    std::fs::write(named.path(), b"abc").expect("written");
    let read = File::open(named.path()).expect("open");
    assert_eq!(refused(&read, shared), MapError::NotWritable);
    let write = File::options().write(true).open(named.path()).expect("open");
    assert_eq!(refused(&write, MapOptions::read_only()), MapError::NotReadable);
    let map = heap.map_file(&read, MapOptions::read_only()).expect("a map");
    assert!(matches!(map.write(0, b"x"), Err(FileError::ReadOnly)));
    assert!(matches!(map.read(2, &mut [0; 2]), Err(FileError::OutOfRange { start: 2, end: 4, len: 3 })));
    assert!(matches!(map.flush(2..5), Err(FileError::OutOfRange { .. })));
    // Appending is of the descriptor, not of the file.
    let append = File::options().read(true).append(true).open(named.path()).expect("open");
    let other = heap.map_file(&append, shared).expect("a map");
    other.write(1, b"B").expect("in range");
    other.flush(..).expect("flushed");
    assert_eq!(std::fs::read(named.path()).expect("read"), b"aBc");
}

#[test]
fn a_map_outlives_its_file_being_closed_and_unlinked() {
    let heap = heap();
    let dir = tempfile::tempdir_in("/var/tmp").expect("a directory");
    let path = dir.path().join("file");
    let data = bytes(6, 2 * BUDGET);
    std::fs::write(&path, &data).expect("written");
    let file = File::options().read(true).write(true).open(&path).expect("open");
    let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
    drop(file);
    std::fs::remove_file(&path).expect("removed");
    assert_same(&all_of(&map), &data);
    map.write(12_345, b"still there").expect("in range");
    for _ in 0..2 {
        let all = all_of(&map);
        assert_eq!(&all[12_345..12_356], b"still there");
    }
    map.close().expect("closed");
}

#[test]
fn holes_read_as_zeros_and_stay_holes() {
    let file = temporary();
    let len = 16 * MIB as u64;
    file.set_len(len).expect("a length");
    file.write_all_at(b"in the middle", len / 2).expect("written");
    file.sync_all().expect("synced");
    let blocks = || std::os::unix::fs::MetadataExt::blocks(&file.metadata().expect("facts"));
    let before = blocks();
    let heap = heap();
    let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
    let all = all_of(&map);
    assert_eq!(all.iter().filter(|byte| **byte != 0).count(), 13);
    // The same zeros, written again, are no change.
    map.write(5 * PAGE, &[0; PAGE]).expect("in range");
    map.flush(..).expect("flushed");
    assert_eq!(blocks(), before);
    map.write(5 * PAGE, b"x").expect("in range");
    map.close().expect("closed");
    file.sync_all().expect("synced");
    assert!(blocks() > before && blocks() <= before + 16, "{before} to {} blocks", blocks());
}

#[test]
fn offsets_past_a_terabyte() {
    let file = temporary();
    let far = (1u64 << 42) + (1 << 40);
    file.set_len(far + 4 * BUDGET as u64).expect("a sparse file");
    let heap = heap();
    let options = MapOptions::shared().offset(far).len(3 * BUDGET);
    let map = heap.map_file(&file, options).expect("a map");
    let near = heap.map_file(&file, MapOptions::shared().len(BUDGET)).expect("a map");
    let data = bytes(7, 3 * BUDGET);
    map.write(0, &data).expect("in range");
    near.write(0, &data[..BUDGET]).expect("in range");
    assert_same(&all_of(&map), &data);
    assert_same(&all_of(&near), &data[..BUDGET]);
    map.close().expect("closed");
    let mut found = vec![0; 3 * BUDGET];
    file.read_exact_at(&mut found, far).expect("read");
    assert_same(&found, &data);
    let too_much = heap.map_file(&file, MapOptions::shared()).expect_err("all of it is too much");
    assert!(matches!(too_much, FileError::Map(MapError::TooMuch { .. })), "{too_much}");
}

#[test]
fn a_file_that_has_grown_is_mapped_again() {
    let data = bytes(8, PAGE + 100);
    let file = file_of(&data);
    let heap = heap();
    let old = heap.map_file(&file, MapOptions::shared()).expect("a map");
    old.write(PAGE + 50, b"dirty").expect("in range");
    assert_eq!(all_of(&old).len(), PAGE + 100);
    // By other means, behind the map's end in its last page, and further on.
    file.write_all_at(&[5; 3 * PAGE], (PAGE + 100) as u64).expect("written");
    let new = heap.map_file(&file, MapOptions::shared()).expect("a map");
    assert_eq!(new.len(), 4 * PAGE + 100);
    let all = all_of(&new);
    assert_eq!(&all[PAGE + 50..PAGE + 55], b"dirty");
    assert!(all[PAGE + 100..].iter().all(|byte| *byte == 5));
    // Both are the same pages, and what is written to the last is written to the file.
    new.write(PAGE + 200, b"seen").expect("in range");
    new.flush(..).expect("flushed");
    let mut found = [0; 4];
    file.read_exact_at(&mut found, (PAGE + 200) as u64).expect("read");
    assert_eq!(&found, b"seen");
    drop(old);
    assert_eq!(&all_of(&new)[PAGE + 50..PAGE + 55], b"dirty");
}

#[test]
fn advice_brings_in_and_sends_away() {
    let data = bytes(9, 4 * MIB);
    let file = file_of(&data);
    let heap = heap();
    for options in [MapOptions::shared(), MapOptions::private()] {
        let map = heap.map_file(&file, options).expect("a map");
        map.advise(..2 * MIB, FileAdvice::WillNeed).expect("in range");
        let start = std::time::Instant::now();
        while map.usage(..2 * MIB).expect("in range").resident < 512 && start.elapsed().as_secs() < 20 {
            std::thread::yield_now();
        }
        let faults = heap.stats().major_faults;
        let usage = map.usage(..).expect("in range");
        assert_eq!((usage.resident, usage.untouched), (512, 512), "{usage:?}");
        let mut some = vec![0; 2 * MIB];
        map.read(0, &mut some).expect("in range");
        assert_same(&some, &data[..2 * MIB]);
        assert_eq!(heap.stats().major_faults, faults, "what was brought in needs no read");
        map.advise(.., FileAdvice::Cold).expect("in range");
        let usage = map.usage(..).expect("in range");
        assert_eq!((usage.resident, usage.parked), (0, 512), "{usage:?}");
        // In no order: one page at a time.
        map.advise(2 * MIB.., FileAdvice::Random).expect("in range");
        let read = heap.stats().file_reads;
        map.read(2 * MIB, &mut some).expect("in range");
        assert_eq!(heap.stats().file_reads - read, 512);
        assert_same(&some, &data[2 * MIB..]);
        map.close().expect("closed");
    }
}

#[test]
fn pinned_pages_stay() {
    let data = bytes(10, 4 * BUDGET);
    let file = file_of(&data);
    let heap = heap();
    let mut map = heap.map_file(&file, MapOptions::shared()).expect("a map");
    map.pin(..MIB).expect("an eighth");
    assert!(matches!(map.pin(..BUDGET), Err(FileError::TooMuchPinned { .. })));
    assert_eq!(heap.stats().pinned_bytes, MIB as u64, "what was pinned before stays so");
    assert_same(&all_of(&map), &data);
    let reads = heap.stats().file_reads;
    let mut some = vec![0; MIB];
    map.read(0, &mut some).expect("in range");
    assert_eq!(heap.stats().file_reads, reads);
    map.unpin(..).expect("in range");
    assert_same(&all_of(&map), &data);
}
