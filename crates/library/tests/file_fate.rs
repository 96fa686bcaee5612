//! Mapped files whose disks fail, that are made shorter, and whose programs fork.

mod common;

use common::{BUDGET, MIB, PAGE, builder, dies_by_a_bus_error, heap, passes};
use outcore::{FileError, Heap, MapOptions, MappedFile};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::sync::Mutex;

fn file_of(pages: usize) -> File {
    let mut file = tempfile::tempfile_in("/var/tmp").expect("a file");
    for page in 0..pages {
        file.write_all(&[page as u8; PAGE]).expect("written");
    }
    file.sync_all().expect("synced");
    file
}

fn failing(plan: &str) -> Heap {
    builder().faults(plan).build().expect("a heap")
}

#[test]
fn a_page_that_cannot_be_read_is_a_bus_error() {
    let message = "outcore: the page at byte 8192 of a mapped file cannot be had: reading failed";
    dies_by_a_bus_error("reads_what_cannot_be_read", message);
}

#[test]
#[ignore = "dies of it: run by the test above"]
fn reads_what_cannot_be_read() {
    let file = file_of(8);
    // What is read ahead after the first two pages fails, is tried again, and comes; then the
    // page itself fails.
    let heap = failing("file-read-error@1");
    let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
    let mut byte = [0];
    let read = map.read(2 * PAGE, &mut byte);
    panic!("{read:?} {byte:?}");
}

#[test]
fn one_bad_read_of_many_pages_costs_none_of_them() {
    let pages = 4 * BUDGET / PAGE;
    let file = file_of(pages);
    for nth in [2, 3, 5, 9, 20] {
        let heap = failing(&format!("file-read-error@{nth}"));
        let map = heap.map_file(&file, MapOptions::read_only()).expect("a map");
        let mut all = vec![0; map.len()];
        // Reads ahead fail together, and are then made alone; only a page that fails alone is lost,
        // which these are not.
        map.advise(.., outcore::FileAdvice::Sequential).expect("in range");
        map.read(0, &mut all).expect("in range");
        assert!(
            all.chunks(PAGE).enumerate().all(|(page, bytes)| bytes.iter().all(|byte| *byte == page as u8))
        );
        assert_eq!(heap.stats().poisoned_pages, 0);
    }
}

#[test]
fn a_write_that_fails_is_told_by_flush_and_made_again() {
    for (plan, kind) in [("file-write-error@1", "Input/output error"), ("file-full@1", "No space left")] {
        let file = file_of(64);
        let heap = failing(plan);
        let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
        map.write(5 * PAGE, b"kept").expect("in range");
        let Err(FileError::WriteBack(error)) = map.flush(..) else { panic!("{plan} is not told") };
        assert!(error.to_string().contains(kind), "{error}");
        assert!(
            heap.message().is_some_and(|text| text.contains("writing a mapped file")),
            "{:?}",
            heap.message()
        );
        let mut found = [0; 4];
        map.read(5 * PAGE, &mut found).expect("in range");
        assert_eq!(&found, b"kept", "what could not be written is in memory");
        map.flush(..).expect("the disk is well again");
        file.read_exact_at(&mut found, 5 * PAGE as u64).expect("read");
        assert_eq!(&found, b"kept");
        map.close().expect("closed");
    }
}

#[test]
fn a_write_that_fails_at_eviction_loses_nothing() {
    let pages = 4 * BUDGET / PAGE;
    let file = file_of(pages);
    let heap = failing("file-write-error@3");
    let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
    for page in 0..pages {
        map.write(page * PAGE, &[page as u8 ^ 0xff; 64]).expect("in range");
    }
    assert!(heap.message().is_some(), "the failure is told");
    for page in 0..pages {
        let mut found = [0; 64];
        map.read(page * PAGE, &mut found).expect("in range");
        assert_eq!(found, [page as u8 ^ 0xff; 64], "page {page}");
    }
    map.flush(..).expect("the disk is well again");
    map.close().expect("closed");
    for page in 0..pages {
        let mut found = [0; 64];
        file.read_exact_at(&mut found, (page * PAGE) as u64).expect("read");
        assert_eq!(found, [page as u8 ^ 0xff; 64], "page {page}");
    }
}

#[test]
fn what_close_could_not_write_is_told() {
    let file = file_of(4);
    let heap = failing("file-write-error@1");
    let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
    map.write(0, b"lost").expect("in range");
    assert!(matches!(map.close(), Err(FileError::WriteBack(_))));
}

#[test]
fn a_file_made_shorter_is_a_bus_error_where_it_was() {
    dies_by_a_bus_error("reads_what_is_gone", "the file has become shorter: it ends at byte 5000");
}

#[test]
#[ignore = "dies of it: run by the test above"]
fn reads_what_is_gone() {
    let file = file_of(8);
    let heap = heap();
    let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
    file.set_len(5000).expect("shorter");
    let mut found = [0; PAGE];
    map.read(PAGE, &mut found).expect("in range");
    // As the kernel's: the page in which the file ends has its bytes, and zeros.
    assert!(found[..5000 - PAGE].iter().all(|byte| *byte == 1), "what is left is there");
    assert!(found[5000 - PAGE..].iter().all(|byte| *byte == 0), "what is gone is zero");
    let read = map.read(2 * PAGE, &mut found);
    panic!("{read:?}");
}

/// As mmap(2) has it: neither a flush nor an eviction makes the file longer again.
#[test]
fn what_is_dirty_past_the_end_of_a_file_made_shorter_is_not_written() {
    let file = file_of(2 * BUDGET / PAGE);
    let heap = heap();
    let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
    // Nearly all that has room is dirty.
    let dirty = BUDGET / PAGE / 2;
    map.write(0, &vec![9; dirty * PAGE]).expect("in range");
    file.set_len(100 * PAGE as u64 + 77).expect("shorter");
    // Others need its place.
    let other = heap.map_file(&file_of(2 * BUDGET / PAGE), MapOptions::shared()).expect("a map");
    let before = heap.stats().file_writes;
    other.write(0, &vec![8; 2 * BUDGET]).expect("in range");
    assert!(heap.stats().file_writes > before, "nothing left");
    assert_eq!(file.metadata().expect("a file").len(), 100 * PAGE as u64 + 77);
    map.flush(..).expect("written as far as there is a file");
    assert_eq!(file.metadata().expect("a file").len(), 100 * PAGE as u64 + 77);
    map.close().expect("written as far as there is a file");
    assert_eq!(file.metadata().expect("a file").len(), 100 * PAGE as u64 + 77);
    let mut bytes = vec![0; 100 * PAGE + 77];
    file.read_exact_at(&mut bytes, 0).expect("the file");
    assert!(bytes.iter().all(|byte| *byte == 9));
}

#[test]
fn what_is_dirty_is_written_when_the_program_exits() {
    let directory = tempfile::tempdir_in("/var/tmp").expect("a directory");
    let path = directory.path().join("file");
    for threads in ["0", "4"] {
        std::fs::write(&path, vec![1; 2 * BUDGET]).expect("a file");
        let mut program = std::process::Command::new(std::env::current_exe().expect("this test"));
        program.args(["exits_with_dirty_maps", "--exact", "--ignored", "--nocapture"]);
        let ended = program.env("OUTCORE_TEST_FILE", &path).env("OUTCORE_TEST_THREADS", threads).output();
        let ended = ended.expect("it runs");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.code(), &*said), (Some(33), ""), "{threads} threads");
        let bytes = std::fs::read(&path).expect("the file");
        assert!(bytes.len() == 2 * BUDGET && bytes.iter().all(|byte| *byte == 7), "{threads} threads");
        let bytes = std::fs::read(format!("{}.child", path.display())).expect("the child's file");
        assert!(bytes.len() == BUDGET && bytes.iter().all(|byte| *byte == 5), "a child of {threads} threads");
    }
}

static LAST: Mutex<Option<MappedFile>> = Mutex::new(None);

#[test]
#[expect(unsafe_code, reason = "forks, and registers what is called at exit")]
#[ignore = "exits: run by the test above"]
fn exits_with_dirty_maps() {
    let path = std::env::var("OUTCORE_TEST_FILE").expect("a file");
    let threads: usize = std::env::var("OUTCORE_TEST_THREADS").expect("a number").parse().expect("a number");
    let file = File::options().read(true).write(true).open(&path).expect("a file");
    let heap = heap();
    // SAFETY: the function is there; it is called after the library's.
    assert_eq!(unsafe { libc::atexit(close) }, 0);
    let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
    map.write(0, &vec![7; map.len()]).expect("in range");
    // A child has none of it, and its own.
    // SAFETY: there is no other thread yet that the program has made; it exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let own =
            File::options().read(true).write(true).create(true).truncate(true).open(format!("{path}.child"));
        let own = own.expect("a file");
        own.set_len(BUDGET as u64).expect("a length");
        let heap = common::heap();
        let map = heap.map_file(&own, MapOptions::shared()).expect("a map");
        map.write(0, &vec![5; BUDGET]).expect("in range");
        std::process::exit(0);
    }
    let mut status = 0;
    // SAFETY: the kernel writes the status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    // One that is closed after what is written at exit, as by a destructor.
    extern "C" fn close() {
        // The child has none.
        let closed = LAST.lock().expect("a map").take().map(MappedFile::close);
        assert!(matches!(closed, None | Some(Ok(()))));
    }
    // Others that are still at work.
    let heap: &'static Heap = Box::leak(Box::new(heap));
    for _ in 0..threads {
        let file = tempfile::tempfile_in("/var/tmp").expect("a file");
        file.set_len(MIB as u64).expect("a length");
        std::thread::spawn(move || {
            loop {
                let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
                map.write(0, &[3; MIB]).expect("in range");
            }
        });
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    *LAST.lock().expect("a place") = Some(map);
    std::process::exit(33);
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    let Some(disk) = SmallDisk::new() else { return };
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(disk.path().join("file"))
        .expect("a file");
    // All holes: there is no room for what will be written.
    file.set_len(4 * MIB as u64).expect("a length");
    let heap = heap();
    let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
    for page in 0..4 * MIB / PAGE {
        map.write(page * PAGE, &[page as u8 | 1; 32]).expect("in range");
    }
    let Err(FileError::WriteBack(error)) = map.flush(..) else { panic!("a full disk is not told") };
    assert!(error.to_string().contains("No space left"), "{error}");
    for page in 0..4 * MIB / PAGE {
        let mut found = [0; 32];
        map.read(page * PAGE, &mut found).expect("in range");
        assert_eq!(found, [page as u8 | 1; 32], "page {page}");
    }
    disk.grow();
    map.flush(..).expect("there is room now");
    map.close().expect("closed");
    let mut found = [0; 32];
    file.read_exact_at(&mut found, (4 * MIB - PAGE) as u64).expect("read");
    assert_eq!(found, [(4 * MIB / PAGE - 1) as u8 | 1; 32]);
}

/// A file system of 1 MiB, in memory; only root can make one.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "small"])
            .arg(dir.path())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            assert!(std::env::var_os("CI").is_none(), "under CI a file system can be mounted");
            eprintln!("SKIPPED: no file system can be mounted");
        }
        mounted.then_some(Self { dir })
    }

    fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    fn grow(&self) {
        let grown = std::process::Command::new("mount")
            .args(["-o", "remount,size=8m"])
            .arg(self.dir.path())
            .status()
            .is_ok_and(|status| status.success());
        assert!(grown, "the file system cannot be made larger");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that failed may still have the file.
        let _ = std::process::Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

#[test]
fn a_forked_child_has_no_maps_and_its_parent_keeps_them() {
    passes("forks");
}

#[test]
#[ignore = "forks: run by the test above"]
#[expect(unsafe_code, reason = "forks")]
fn forks() {
    let file = file_of(16);
    let heap = heap();
    let map = heap.map_file(&file, MapOptions::shared()).expect("a map");
    map.write(0, b"parent").expect("in range");
    // SAFETY: the child uses nothing that a lock of another thread guards.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let refused = matches!(map.read(0, &mut [0]), Err(FileError::Forked))
            && matches!(map.flush(..), Err(FileError::Forked))
            && matches!(heap.map_file(&file, MapOptions::shared()), Err(FileError::Forked));
        drop(map);
        // SAFETY: ends the child.
        unsafe { libc::_exit(if refused { 7 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(libc::WEXITSTATUS(status), 7);
    let mut found = [0; 6];
    map.read(0, &mut found).expect("in range");
    assert_eq!(&found, b"parent");
    map.close().expect("closed");
}

#[test]
fn nothing_is_left_of_maps() {
    passes("leaves_nothing");
}

#[test]
#[ignore = "counts what its process has: run by the test above"]
fn leaves_nothing() {
    let file = file_of(3 * BUDGET / PAGE);
    let live_and_die = || {
        let heap = heap();
        let maps = [MapOptions::shared(), MapOptions::private(), MapOptions::read_only()]
            .map(|options| heap.map_file(&file, options).expect("a map"));
        let mut all = vec![0; 3 * BUDGET];
        maps.iter().for_each(|map| map.read(0, &mut all).expect("in range"));
        maps[0].write(PAGE, b"x").expect("in range");
        maps[1].write(PAGE, b"y").expect("in range");
    };
    live_and_die();
    // This thread and the one that waits for it.
    let before = common::Held::with_threads(2);
    for _ in 0..3 {
        live_and_die();
        before.comes_back("after heaps with maps");
    }
}
