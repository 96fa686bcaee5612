#![expect(unsafe_code, reason = "borrows maps as slices, where nobody else uses them")]
//! What mapped files are used for, and what else can be mapped.

mod common;

use common::{BUDGET, MIB, PAGE, Random, heap};
use outcore::{FileAdvice, FileError, MapError, MapOptions, MappedFile};
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn file_of(words: &[u64]) -> File {
    let mut file = tempfile::tempfile_in("/var/tmp").expect("a file");
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    file.write_all(&bytes).expect("written");
    file.sync_all().expect("synced");
    file
}

/// # Safety
/// As [`MappedFile::as_slice`].
unsafe fn words_of(map: &MappedFile) -> &[u64] {
    // SAFETY: the caller's contract; maps begin at pages.
    let (before, words, after) = unsafe { map.as_slice().align_to::<u64>() };
    assert!(before.is_empty() && after.is_empty());
    words
}

/// Numbers in order, most of which do not follow each other, and some of which are there twice.
fn sorted(count: usize) -> Vec<u64> {
    let mut random = Random(3);
    let mut last = 0;
    (0..count)
        .map(|_| {
            last += random.below(5) as u64;
            last
        })
        .collect()
}

/// A map has nothing to do with what else the program does with its descriptor.
#[test]
fn the_position_of_a_file_stays_where_it_is() {
    let mut file = file_of(&[7; 3000]);
    file.seek(SeekFrom::Start(40)).expect("a position");
    let map = heap().map_file(&file, MapOptions::read_only()).expect("a map");
    assert_eq!((map.len(), file.stream_position().expect("a position")), (24_000, 40));
    let (reader, _writer) = std::io::pipe().expect("a pipe");
    let pipe = File::from(std::os::fd::OwnedFd::from(reader));
    let refused = heap().map_file(&pipe, MapOptions::read_only()).expect_err("a pipe");
    assert!(matches!(refused, FileError::Map(MapError::NotAFile)), "{refused}");
}

#[test]
fn lookups_in_a_sorted_file_find_what_they_find_in_memory() {
    let numbers = sorted(8 * BUDGET / 8);
    let file = file_of(&numbers);
    let heap = heap();
    let map = heap.map_file(&file, MapOptions::read_only()).expect("a map");
    map.advise(.., FileAdvice::Random).expect("in range");
    // SAFETY: nobody writes to the file.
    let mapped = unsafe { words_of(&map) };
    let most = numbers.last().expect("numbers") + 2;
    std::thread::scope(|scope| {
        for seed in 1..=4 {
            let numbers = &numbers;
            scope.spawn(move || {
                let mut random = Random(seed);
                for _ in 0..500 {
                    let wanted = random.below(most as usize) as u64;
                    assert_eq!(mapped.binary_search(&wanted).is_ok(), numbers.binary_search(&wanted).is_ok());
                    let place = mapped.partition_point(|number| *number < wanted);
                    assert_eq!(place, numbers.partition_point(|number| *number < wanted), "{wanted}");
                }
            });
        }
    });
    let stats = heap.stats();
    assert!(stats.file_reads > 2000 && stats.readahead_pages == 0, "{stats}");
    assert!(stats.resident_bytes + stats.parked_bytes <= BUDGET as u64, "{stats}");
}

#[test]
fn what_is_skipped_in_order_does_not_stop_reading_ahead() {
    let numbers: Vec<u64> = (0..8 * BUDGET as u64 / 8).collect();
    let file = file_of(&numbers);
    let heap = heap();
    let map = heap.map_file(&file, MapOptions::read_only()).expect("a map");
    map.advise(.., FileAdvice::Sequential).expect("in range");
    // SAFETY: nobody writes to the file.
    let mapped = unsafe { words_of(&map) };
    let (mut page, mut touched) = (0, 0);
    let mut random = Random(8);
    while page * PAGE < map.len() {
        assert_eq!(mapped[page * PAGE / 8], (page * PAGE / 8) as u64);
        touched += 1;
        page += 1 + random.below(4);
    }
    let stats = heap.stats();
    let faults = (stats.minor_faults + stats.major_faults) as usize;
    assert!(faults * 12 < touched, "{touched} pages were touched: {stats}");
}

/// Whether the kernel tells what has been written.
fn writes_are_told() -> bool {
    use sys::uffd::{Features, Source, probe};
    let wanted = Features::WP_ASYNC | Features::WP_HUGETLBFS_SHMEM;
    let told = [Source::Device, Source::Syscall, Source::UserModeOnly]
        .into_iter()
        .find_map(|source| probe(source).ok())
        .is_some_and(|features| features.contains(wanted));
    if !told {
        assert!(std::env::var_os("CI").is_none(), "under CI the kernel tells what has been written");
        eprintln!("SKIPPED: the kernel does not tell what has been written");
    }
    told
}

#[test]
fn what_is_dirty_is_written_in_the_background_above_a_limit() {
    if !writes_are_told() {
        return;
    }
    // Nothing has to leave.
    let pages = BUDGET / PAGE / 4 * 3;
    let limit = BUDGET / PAGE / 4;
    let file = file_of(&vec![0; pages * PAGE / 8]);
    let heap = heap();
    let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
    let dirty = || {
        let is_new = |page: usize| {
            let mut found = [0; 8];
            file.read_exact_at(&mut found, (page * PAGE) as u64).expect("read");
            u64::from_ne_bytes(found) == page as u64 + 1
        };
        (0..pages).filter(|page| !is_new(*page)).count()
    };
    for page in 0..pages {
        map.read(page * PAGE, &mut [0; 8]).expect("in range");
    }
    // No pager sees a fault of these.
    for page in 0..pages {
        map.write(page * PAGE, &(page as u64 + 1).to_ne_bytes()).expect("in range");
    }
    let start = std::time::Instant::now();
    while dirty() > limit && start.elapsed().as_secs() < 20 {
        std::thread::yield_now();
    }
    assert!(dirty() <= limit, "{} of {pages} pages are dirty: {}", dirty(), heap.stats());
    let usage = map.usage(..).expect("in range");
    assert_eq!((usage.resident + usage.parked) as usize, pages, "{usage:?}");
    // What the file has already is counted a little later.
    while (heap.stats().file_writes as usize) < pages - dirty() {
        assert!(start.elapsed().as_secs() < 20, "{} are dirty: {}", dirty(), heap.stats());
        std::thread::yield_now();
    }
    let before = heap.stats().file_writes;
    map.flush(..).expect("flushed");
    let left = heap.stats().file_writes - before;
    assert!(left as usize <= limit, "{left} pages were left to be written");
    assert_eq!(dirty(), 0);
    // What is clean is not written for being looked at.
    let before = heap.stats().file_writes;
    for page in 0..pages {
        let mut found = [0; 8];
        map.read(page * PAGE, &mut found).expect("in range");
        assert_eq!(u64::from_ne_bytes(found), page as u64 + 1);
    }
    map.close().expect("closed");
    assert_eq!(heap.stats().file_writes, before);
}

/// A file of some MiB as a block device; only root can make one, where there are such devices.
struct LoopDevice {
    path: PathBuf,
    file: tempfile::NamedTempFile,
}

impl LoopDevice {
    fn new(mib: usize) -> Option<Self> {
        let file = tempfile::NamedTempFile::new_in("/var/tmp").expect("a file");
        file.as_file().set_len((mib * MIB) as u64).expect("a length");
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file.path()).output();
        let Some(made) = made.ok().filter(|made| made.status.success()) else {
            // Not even as root where the kernel has no such devices.
            let can = Path::new("/dev/loop-control").exists() && rustix::process::geteuid().is_root();
            assert!(!(can && std::env::var_os("CI").is_some()), "under CI a loop device can be made");
            eprintln!("SKIPPED: no loop device can be made");
            return None;
        };
        let path = String::from_utf8(made.stdout).expect("a path");
        Some(Self { path: path.trim().into(), file })
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

#[test]
fn a_block_device_is_mapped_as_a_file_is() {
    let Some(device) = LoopDevice::new(16) else { return };
    let file = File::options().read(true).write(true).open(&device.path).expect("the device");
    let heap = heap();
    let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
    assert_eq!(map.len(), 16 * MIB);
    for page in 0..16 * MIB / PAGE {
        map.write(page * PAGE + 8, &(page as u64 + 1).to_ne_bytes()).expect("in range");
    }
    for page in 0..16 * MIB / PAGE {
        let mut found = [0; 8];
        map.read(page * PAGE + 8, &mut found).expect("in range");
        assert_eq!(u64::from_ne_bytes(found), page as u64 + 1);
    }
    map.flush(..).expect("flushed");
    for page in [0, 1, 1000, 16 * MIB / PAGE - 1] {
        let mut found = [0; 16];
        device.file.as_file().read_exact_at(&mut found, (page * PAGE) as u64).expect("read");
        assert_eq!((&found[..8], &found[8..]), (&[0; 8][..], &(page as u64 + 1).to_ne_bytes()[..]), "{page}");
    }
    map.close().expect("closed");
}
