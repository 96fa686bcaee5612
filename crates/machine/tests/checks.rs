//! Checks that have caught real pagers and that need a loop, a clock or a file that changes.

use machine::{AccessError, Direction, Machine, MachineError, Settings};
use pager::space::{Access, FaultKind, MapError};
use std::fs;
use std::path::Path;

const BASE: u64 = 0x6_0000_0000;
const PAGE: u64 = 64 << 10;

fn machine(change: impl FnOnce(&mut Settings)) -> Machine {
    let mut settings = Settings::default();
    change(&mut settings);
    Machine::new(settings).expect("a machine that is possible")
}

/// A process with number `pid`, which runs.
fn begin(machine: &mut Machine, pid: u32) {
    machine.create(0, pid).expect("a new process");
    machine.switch(pid).expect("it is there");
}

/// Maps until null: how many pages.
fn map_all(machine: &mut Machine) -> u64 {
    let mut pages = 0;
    while machine.map().is_ok() {
        pages += 1;
    }
    machine.check();
    pages
}

#[test]
fn two_processes_that_map_until_null_get_all_slots_and_none() {
    let mut machine = machine(|_| {});
    begin(&mut machine, 1);
    begin(&mut machine, 2);
    machine.switch(1).expect("it is there");
    assert_eq!(map_all(&mut machine), 256);
    machine.switch(2).expect("it is there");
    assert_eq!(map_all(&mut machine), 0);
    machine.switch(1).expect("it is there");
    machine.destroy().expect("it runs");
    machine.switch(2).expect("it is there");
    assert_eq!(map_all(&mut machine), 256);
    assert_eq!(machine.map(), Err(MachineError::Map(MapError::NoRoom)), "the arena is full");
}

#[test]
fn a_process_of_127_pages_forks_once() {
    let mut machine = machine(|_| {});
    begin(&mut machine, 1);
    for n in 0..127 {
        machine.map().expect("a slot");
        machine.write(BASE + n * PAGE, &[n as u8], 1).expect("memory");
    }
    machine.create(1, 2).expect("127 of 129 slots");
    machine.switch(2).expect("it is there");
    assert!(matches!(machine.create(2, 3), Err(MachineError::Commit(_))));
    assert_eq!(machine.spaces().slots_free(), 2);
    assert_eq!(map_all(&mut machine), 2);
    for n in 0..127 {
        assert_eq!(machine.load(BASE + n * PAGE), Ok(n as u8));
    }
    machine.check();
}

#[test]
fn thirty_two_forked_processes_keep_their_own_bytes_on_three_frames() {
    let mut machine = machine(|settings| settings.slots = 32 * 4);
    begin(&mut machine, 1);
    for _ in 0..4 {
        machine.map().expect("a slot");
    }
    machine.write(BASE, b"family", 6).expect("memory");
    let mut family = vec![1];
    for generation in 0..5 {
        for parent in family.clone() {
            let child = parent + (1 << generation);
            machine.create(parent, child).expect("slots for all");
            family.push(child);
        }
    }
    assert_eq!(family.len(), 32);
    for round in 0..3_u8 {
        for pid in &family {
            machine.switch(*pid).expect("it is there");
            for page in 0..4 {
                let addr = BASE + page * PAGE + 10;
                machine.write(addr, &[*pid as u8, round, page as u8], 3).expect("memory");
            }
            machine.check();
        }
        for pid in family.iter().rev() {
            machine.switch(*pid).expect("it is there");
            for page in 0..4 {
                let addr = BASE + page * PAGE + 10;
                assert_eq!(machine.read(addr, 3), Ok(vec![*pid as u8, round, page as u8]));
            }
            assert_eq!(machine.read(BASE, 6), Ok(b"family".to_vec()));
        }
    }
    for pid in family {
        machine.switch(pid).expect("it is there");
        machine.destroy().expect("it runs");
    }
    assert_eq!((machine.spaces().slots_used(), machine.spaces().frames_used()), (0, 1));
}

#[test]
fn a_file_that_appears_after_the_first_failed_fault_is_found() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut machine = machine(|settings| settings.files = directory.path().to_path_buf());
    begin(&mut machine, 1);
    machine.map_file(b"late", 0).expect("it need not exist");
    let space = machine.current().expect("one runs");
    assert!(machine.fault(space, BASE, Access::Read).is_err());
    fs::write(directory.path().join("late"), "here").expect("a file");
    machine.fault(space, BASE, Access::Read).expect("it is there now");
    assert_eq!(machine.read(BASE, 5), Ok(b"here\0".to_vec()));
}

#[test]
fn a_mapping_outlives_unlink() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gone");
    fs::write(&path, vec![b'g'; 2 * PAGE as usize]).expect("a file");
    let mut machine = machine(|settings| settings.files = directory.path().to_path_buf());
    begin(&mut machine, 1);
    let request = machine::Mmap {
        addr: Some(BASE),
        len: 2 * PAGE,
        prot: pager::space::Prot::READ_WRITE,
        share: pager::space::Share::Shared,
        source: machine::MmapSource::File { name: b"gone", offset: 0 },
    };
    machine.mmap(request).expect("the file is there");
    fs::remove_file(&path).expect("it is there");
    assert_eq!(machine.load(BASE + PAGE), Ok(b'g'));
    machine.write(BASE, b"w", 1).expect("memory");
    assert_eq!(machine.msync(BASE, PAGE), Ok(()));
    machine.destroy().expect("it runs");
    // Its blocks are in memory still: it is the same file to whoever maps it by its name now.
    begin(&mut machine, 2);
    assert_eq!(machine.map_file(b"gone", 0), Ok(BASE));
    assert_eq!(machine.load(BASE), Ok(b'w'));
}

#[test]
fn mapped_writes_reach_the_real_file_and_not_past_its_end() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("short");
    fs::write(&path, "0123456789").expect("a file");
    let mut machine = machine(|settings| settings.files = directory.path().to_path_buf());
    begin(&mut machine, 1);
    let request = machine::Mmap {
        addr: None,
        len: 1,
        prot: pager::space::Prot::READ_WRITE,
        share: pager::space::Share::Shared,
        source: machine::MmapSource::File { name: b"short", offset: 0 },
    };
    let addr = machine.mmap(request).expect("the file is there");
    machine.write(addr + 8, b"abcd", 4).expect("memory");
    machine.destroy().expect("it runs");
    assert_eq!(fs::read(&path).expect("a file"), b"01234567ab");
}

#[test]
fn a_symbolic_link_does_not_lead_out_of_the_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let inside = directory.path().join("inside");
    fs::create_dir(&inside).expect("a directory");
    fs::write(directory.path().join("secret"), "secret").expect("a file");
    std::os::unix::fs::symlink(directory.path().join("secret"), inside.join("link")).expect("a link");
    let mut machine = machine(|settings| settings.files = inside);
    begin(&mut machine, 1);
    machine.map_file(b"link", 0).expect("any name can be mapped");
    let space = machine.current().expect("one runs");
    assert!(machine.fault(space, BASE, Access::Read).is_err());
}

/// A transfer takes its latency and its bytes' time; what hits takes neither.
#[test]
fn time_is_that_of_the_disk() {
    let mut machine = machine(|settings| settings.frames = 2);
    begin(&mut machine, 1);
    machine.map().expect("a slot");
    machine.map().expect("a slot");
    machine.store(BASE, 1).expect("memory");
    let before = machine.now();
    machine.begin();
    machine.store(BASE + PAGE, 1).expect("memory");
    let write = 100_000 + PAGE * 1_000_000_000 / 500_000_000;
    assert_eq!(machine.now() - before, write + 1_000 + 1, "a write, a fault and an access");
    let request = machine.requests()[0];
    assert_eq!((request.direction, request.block, request.end - request.begin), (Direction::Write, 0, write));
    let before = machine.now();
    for _ in 0..1000 {
        machine.load(BASE + PAGE).expect("memory");
    }
    assert_eq!(machine.now() - before, 1000);
}

#[test]
fn faults_are_counted_by_kind() {
    let mut machine = machine(|settings| settings.frames = 2);
    begin(&mut machine, 1);
    machine.map().expect("a slot");
    machine.map().expect("a slot");
    machine.store(BASE, 1).expect("memory");
    machine.store(BASE + PAGE, 1).expect("memory");
    machine.load(BASE).expect("memory");
    machine.store(BASE, 2).expect("memory");
    machine.create(1, 2).expect("slots");
    machine.store(BASE, 3).expect("memory");
    let counts = |kind| {
        let counts = machine.stats().of(kind);
        (counts.minor, counts.major)
    };
    assert_eq!(counts(FaultKind::Zero), (1, 1), "the second had to wait for the first page's write");
    assert_eq!(counts(FaultKind::SwapIn), (0, 1));
    assert_eq!(counts(FaultKind::Mapped), (1, 0));
    assert_eq!(counts(FaultKind::CopyOnWrite), (0, 1));
    assert_eq!(machine.stats().total().minor + machine.stats().total().major, 5);
}

#[test]
fn accesses_past_the_last_address_kill_and_do_not_wrap() {
    let mut machine = machine(|_| {});
    begin(&mut machine, 1);
    assert!(matches!(machine.read(u64::MAX, 2), Err(AccessError::Killed(_))));
    begin(&mut machine, 2);
    assert!(matches!(machine.write(u64::MAX - 1, b"abc", 3), Err(AccessError::Killed(_))));
    assert_eq!(machine.read(BASE, 1), Err(AccessError::NoProcess));
}

/// 4 GiB page numbers, and blocks that no file has.
#[test]
fn huge_numbers_are_refused_or_fail_and_do_not_wrap() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("file"), "x").expect("a file");
    let mut machine = machine(|settings| settings.files = directory.path().to_path_buf());
    begin(&mut machine, 1);
    for block in [1 << 32, u64::MAX / PAGE, u64::MAX - 1, u64::MAX] {
        let addr = machine.map_file(b"file", block).expect("the arena has room");
        assert_eq!(machine.load(addr), Ok(0), "block {block}");
        machine.check();
    }
    assert!(machine.munmap(u64::MAX - PAGE + 1, PAGE).is_err());
    assert!(machine.munmap(0, u64::MAX).is_err());
    assert!(machine.mprotect(0, u64::MAX, pager::space::Prot::NONE).is_err());
    assert!(machine.msync(u64::MAX - PAGE + 1, u64::MAX).is_err());
    machine.check();
}

#[test]
fn every_frame_count_works_up_to_a_million() {
    for frames in [2, 3, 1 << 10, 1 << 20] {
        let mut machine = machine(|settings| settings.frames = frames);
        begin(&mut machine, 1);
        for n in 0..16 {
            machine.map().expect("a slot");
            machine.store(BASE + n * PAGE, n as u8).expect("memory");
        }
        for n in 0..16 {
            assert_eq!(machine.load(BASE + n * PAGE), Ok(n as u8), "{frames} frames");
        }
    }
}

#[test]
fn files_are_looked_up_where_the_settings_say() {
    let mut machine = machine(|settings| settings.files = Path::new("/nonexistent").to_path_buf());
    begin(&mut machine, 1);
    machine.map_file(b"file", 0).expect("any name can be mapped");
    let space = machine.current().expect("one runs");
    assert!(machine.fault(space, BASE, Access::Read).is_err());
}
