//! Stores that fail and lie: a typed error, nothing lost, nothing invented.

mod common;

use common::{Faulty, PAGE, over, pattern, sized};
use handles::{
    AccessError, BuildError, Handle, MemoryStore, PinError, Store, StoreError, SwapFile, SwapFileError,
    VirtualHeap,
};
use std::error::Error;
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Six blocks of one page in two frames: the first four are in the store only.
fn swapped(store: &Arc<Faulty>) -> (VirtualHeap, Vec<Handle>) {
    let heap = over(store.clone(), 2, 6);
    let block = |number| {
        let block = heap.alloc(PAGE).expect("room");
        heap.write(block, 0, &pattern(number, PAGE)).expect("a store that works");
        block
    };
    let blocks = (0..6).map(block).collect();
    (heap, blocks)
}

fn all_right(heap: &VirtualHeap, blocks: &[Handle]) {
    for (number, block) in blocks.iter().enumerate() {
        let mut bytes = vec![0; PAGE];
        heap.read(*block, 0, &mut bytes).expect("the store works again");
        assert_eq!(bytes, pattern(number as u64, PAGE), "block {number}");
    }
    heap.check_invariants();
}

#[test]
fn a_read_that_fails_is_told_and_can_be_tried_again() {
    let store = Faulty::new();
    let (heap, blocks) = swapped(&store);
    store.fail_reads.store(true, SeqCst);
    let mut bytes = [3; 8];
    for _ in 0..3 {
        let error = heap.read(blocks[0], 0, &mut bytes).expect_err("it is in the store");
        assert!(matches!(error, AccessError::Store(StoreError::Read { offset: 0, .. })), "{error:?}");
        assert!(error.to_string().contains("offset 0") && error.source().is_some(), "{error}");
        assert_eq!(bytes, [3; 8], "nothing was read");
        let error = heap.write(blocks[1], 0, &[1]).expect_err("a part is written, so the rest is needed");
        assert!(matches!(error, AccessError::Store(StoreError::Read { .. })), "{error:?}");
        assert!(matches!(heap.check(blocks[2]), Err(PinError::Store(StoreError::Read { .. }))));
        heap.check_invariants();
    }
    heap.free(blocks[3]).expect("what cannot be read can be freed");
    assert!(heap.alloc(PAGE).is_ok());
    store.fail_reads.store(false, SeqCst);
    all_right(&heap, &blocks[..3]);
}

#[test]
fn bytes_that_are_not_what_was_written_are_never_handed_on() {
    let store = Faulty::new();
    let (heap, blocks) = swapped(&store);
    store.lie.store(true, SeqCst);
    let mut bytes = [3; 64];
    for _ in 0..3 {
        let error = heap.read(blocks[1], 0, &mut bytes).expect_err("a bit is wrong");
        let offset = PAGE as u64;
        assert!(
            matches!(error, AccessError::Store(StoreError::Wrong { offset: at }) if at == offset),
            "{error:?}"
        );
        assert_eq!(bytes, [3; 64], "nothing was read");
        assert!(matches!(heap.pin(blocks[0]), Err(PinError::Store(StoreError::Wrong { offset: 0 }))));
        heap.check_invariants();
    }
    store.lie.store(false, SeqCst);
    all_right(&heap, &blocks);
}

/// What cannot be written stays in memory, and is written when that is possible again. A write
/// that failed half way leaves nothing behind that is taken for the page.
#[test]
fn a_write_that_fails_loses_nothing() {
    for tear in [false, true] {
        let store = Faulty::new();
        let (heap, blocks) = swapped(&store);
        store.tear.store(tear, SeqCst);
        // The last two have been in the store by now, and are in memory again.
        all_right(&heap, &blocks);
        // Both pages in memory are changed, so one has to be written before another comes in.
        heap.write(blocks[4], 0, &pattern(40, PAGE)).expect("in memory");
        heap.write(blocks[5], 0, &pattern(50, PAGE)).expect("in memory");
        store.fail_writes.store(true, SeqCst);
        for _ in 0..3 {
            let error = heap.read(blocks[0], 0, &mut [0]).expect_err("a page has to leave before");
            assert!(matches!(error, AccessError::Store(StoreError::Write { .. })), "{error:?}");
            assert!(error.to_string().contains("stays in memory"), "{error}");
            for (block, seed) in [(blocks[4], 40), (blocks[5], 50)] {
                let mut bytes = vec![0; PAGE];
                heap.read(block, 0, &mut bytes).expect("it is still in memory");
                assert_eq!(bytes, pattern(seed, PAGE));
            }
            heap.check_invariants();
        }
        // Back to what a torn write may have destroyed in the store: it must be written once more.
        heap.write(blocks[4], 0, &pattern(4, PAGE)).expect("in memory");
        heap.write(blocks[5], 0, &pattern(5, PAGE)).expect("in memory");
        store.fail_writes.store(false, SeqCst);
        all_right(&heap, &blocks);
        all_right(&heap, &blocks);
    }
}

/// A block that is written over several pages: those before the failure are written, those after are not.
#[test]
fn a_failure_in_the_middle_is_at_a_page() {
    let store = Faulty::new();
    let heap = over(store.clone(), 2, 6);
    let large = heap.alloc(4 * PAGE).expect("room");
    heap.write(large, 0, &pattern(1, 4 * PAGE)).expect("a store that works");
    heap.read(large, 0, &mut [0; 2 * PAGE]).expect("a store that works");
    store.fail_reads.store(true, SeqCst);
    let error = heap.write(large, 0, &pattern(2, 4 * PAGE)).expect_err("the last pages are away");
    assert!(matches!(error, AccessError::Store(StoreError::Read { .. })), "{error:?}");
    store.fail_reads.store(false, SeqCst);
    let mut bytes = vec![0; 4 * PAGE];
    heap.read(large, 0, &mut bytes).expect("the store works again");
    assert_eq!(bytes[..2 * PAGE], pattern(2, 4 * PAGE)[..2 * PAGE]);
    assert_eq!(bytes[2 * PAGE..], pattern(1, 4 * PAGE)[2 * PAGE..]);
}

/// Panics when it is told to.
struct Panicking(MemoryStore, AtomicBool);

impl Store for Panicking {
    fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        assert!(!self.1.load(SeqCst), "told to panic");
        self.0.read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.0.write(offset, from)
    }
}

#[test]
fn a_store_that_panics_has_failed_and_holds_nobody_up() {
    let store = Arc::new(Panicking(MemoryStore::new(), AtomicBool::new(false)));
    let heap = over(store.clone(), 1, 2);
    let [one, two] = [1, 2].map(|byte: u8| {
        let block = heap.alloc(PAGE).expect("room");
        heap.write(block, 0, &[byte]).expect("a store that works");
        block
    });
    store.1.store(true, SeqCst);
    let error = heap.read(one, 0, &mut [0]).expect_err("the store panics");
    assert!(matches!(error, AccessError::Store(StoreError::Read { .. })), "{error:?}");
    store.1.store(false, SeqCst);
    for (block, byte) in [(one, 1), (two, 2)] {
        let mut read = [0];
        heap.read(block, 0, &mut read).expect("the store works again");
        assert_eq!(read, [byte]);
    }
    heap.check_invariants();
}

#[test]
fn a_named_swap_file_is_there_and_goes_with_the_heap() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("swap");
    let build = || sized(1, 4).swap_file(&path).build();
    let heap = build().expect("the name is free");
    let blocks: Vec<_> = (0..4).map(|_| heap.alloc(PAGE).expect("room")).collect();
    for block in &blocks {
        heap.write(*block, 7, b"in the file").expect("the disk has room");
    }
    let found = fs::read(&path).expect("it has its name");
    assert!(found.windows(11).any(|part| part == b"in the file") && found.len() <= 4 * PAGE);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o600);
    }
    let error = build().expect_err("the name is taken");
    assert!(matches!(error, BuildError::SwapFile(SwapFileError::Exists(_))), "{error:?}");
    assert!(error.to_string().contains("remove it or choose another name"), "{error}");
    drop(heap);
    assert!(!path.exists());
    fs::write(&path, "somebody's letters").expect("a file");
    assert!(build().is_err());
    assert_eq!(fs::read(&path).expect("it is there"), b"somebody's letters", "it is left alone");
}

#[test]
fn an_unnamed_swap_file_leaves_nothing_in_its_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let builder = sized(1, 4).swap_dir(dir.path());
    let heap = builder.build().expect("a directory");
    for _ in 0..4 {
        let block = heap.alloc(PAGE).expect("room");
        heap.write(block, 0, &[1]).expect("the disk has room");
    }
    if cfg!(unix) {
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0, "it has no name");
    }
    drop(heap);
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
}

#[test]
fn a_swap_file_that_cannot_be_had_is_told_with_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = dir.path().join("missing");
    for builder in
        [VirtualHeap::builder().swap_dir(&missing), VirtualHeap::builder().swap_file(missing.join("swap"))]
    {
        let message = builder.build().expect_err("no such directory").to_string();
        assert!(message.contains("missing") && message.contains("choose another place"), "{message}");
    }
    let file = SwapFile::named(&dir.path().join("swap")).expect("a free name");
    assert_eq!(file.path(), Some(dir.path().join("swap").as_path()));
    file.write(3, b"abc").expect("the disk has room");
    assert_eq!(file.size().ok(), Some(6));
    let mut bytes = [1; 4];
    file.read(2, &mut bytes).expect("it was written");
    assert_eq!(&bytes, b"\0abc");
    assert!(file.read(3, &mut bytes).is_err(), "beyond its end");
}
