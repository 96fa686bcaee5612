//! The heap as the global allocator of this test.

#![expect(unsafe_code, reason = "forks")]

use outcore::{BuildError, GlobalHeap, Heap};
use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;

#[global_allocator]
static GLOBAL: GlobalHeap = GlobalHeap::new();

const BUDGET: u64 = 8 << 20;

/// Started by whichever test comes first.
fn heap() -> &'static Heap {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        let before = vec![1u8; 1 << 20];
        GLOBAL.start(Heap::builder().budget(BUDGET)).expect("a heap");
        assert!(before.iter().all(|byte| *byte == 1));
    });
    GLOBAL.heap().expect("started")
}

#[test]
fn what_the_program_allocates_is_paged() {
    let heap = heap();
    let before = heap.stats().swap_outs;
    let words: Vec<String> =
        (0..100_000).map(|number| format!("the word with the number {number}")).collect();
    let map: HashMap<&str, usize> =
        words.iter().enumerate().map(|(number, word)| (&**word, number)).collect();
    let tree: BTreeMap<usize, Box<[u8; 100]>> = (0..50_000).map(|n| (n, Box::new([n as u8; 100]))).collect();
    for (number, word) in words.iter().enumerate() {
        assert_eq!(*word, format!("the word with the number {number}"));
    }
    assert!(words.iter().step_by(17).enumerate().all(|(n, word)| map[&**word] == n * 17));
    assert!(tree.iter().all(|(n, bytes)| **bytes == [*n as u8; 100]));
    let stats = heap.stats();
    assert!(stats.swap_outs > before + BUDGET / 4096, "{stats}");
}

/// What is known of families' pages is not in pages that leave: their pager asks for it while others wait for the pager.
#[test]
fn families_of_the_same_heap_do_not_hold_their_pager_up() {
    let heap = heap();
    let family = heap.family::<[u64; 12]>("in a global heap").expect("a family");
    let count = 6 * BUDGET / 96;
    let mut objects: Vec<_> =
        (0..count).map(|number| Some(family.alloc([number; 12]).expect("pages"))).collect();
    for round in 0..3 {
        let found = (0..).zip(&objects).filter_map(|(number, object)| Some((number, object.as_ref()?)));
        found.for_each(|(number, object): (u64, _)| assert_eq!(**object, [number; 12]));
        objects.iter_mut().skip(round).step_by(5).for_each(|object| drop(object.take()));
    }
    drop(objects);
    assert_eq!(heap.families().stats(family.id()).expect("a family").used_bytes, 0);
}

#[test]
fn threads_pass_it_around() {
    heap();
    let (send, receive) = mpsc::channel::<(usize, Vec<u64>)>();
    let total: usize = thread::scope(|scope| {
        for thread in 0..8usize {
            let send = send.clone();
            scope.spawn(move || {
                for round in 0..200usize {
                    let mut data = vec![(thread * round) as u64; 500];
                    data.extend(0..round as u64);
                    send.send((round, data)).expect("a receiver");
                }
            });
        }
        drop(send);
        receive
            .into_iter()
            .map(|(round, data)| {
                assert_eq!(data.len(), 500 + round);
                assert!(data[500..].iter().zip(0..).all(|(found, number)| *found == number));
                data.len()
            })
            .sum()
    });
    assert_eq!(total, 8 * (200 * 500 + 199 * 200 / 2));
}

#[test]
fn other_heaps_live_beside_it() {
    heap();
    let other = Heap::builder().budget(BUDGET).build().expect("a heap");
    let arena = other.arena(32 << 20).expect("an arena");
    let mut pages = arena.alloc(24 << 20).expect("pages");
    pages.fill(9);
    let kept = Arc::new(vec![3u32; 3 << 20]);
    assert!(pages.iter().all(|byte| *byte == 9) && kept.iter().all(|word| *word == 3));
}

#[test]
fn programs_are_started() {
    heap();
    let arguments: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    let output = Command::new("echo").args(&arguments).env("A", "B").output().expect("echo");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), arguments.join(" "));
}

#[test]
fn a_forked_child_allocates_from_the_system() {
    let heap = heap();
    let data = vec![7u8; 64 << 10];
    assert!(heap.locate(data.as_ptr().addr()).is_some());
    // SAFETY: the child uses what is its own, and leaves at once.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let own: Vec<u64> = (0..100_000).collect();
        let is_own = heap.locate(own.as_ptr().addr()).is_none() && own.iter().sum::<u64>() == 4_999_950_000;
        drop(own);
        // Freed without being touched.
        drop(data);
        // SAFETY: no destructor of the parent's may run.
        unsafe { libc::_exit(i32::from(!is_own)) };
    }
    let mut status = 0;
    // SAFETY: the status may be written.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert!(data.iter().all(|byte| *byte == 7));
}

#[test]
fn it_is_started_once() {
    heap();
    assert!(matches!(GLOBAL.start(Heap::builder().budget(BUDGET)), Err(BuildError::Started)));
}
