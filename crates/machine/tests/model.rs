//! The machine against an obviously correct model that keeps each process's bytes in plain maps.
//!
//! Random operations are generated from a seed and carried out on both. After each one the
//! answers are compared and every law is checked; at the end every byte is compared, the files on
//! disk too, and the accounts must close. Operations that fail are shrunk to a script for
//! `outcore machine run`. Set `OUTCORE_TEST_STEPS` for another number of operations a seed.

#[path = "model/check.rs"]
mod check;
#[path = "model/generate.rs"]
mod generate;
#[path = "model/plain.rs"]
mod plain;
#[path = "model/shrink.rs"]
mod shrink;

use check::Setup;
use generate::Generator;
use machine::Stats;
use machine::script::Op;
use pager::space::FaultKind;
use pager::{Commit, PolicyKind};
use std::collections::BTreeMap;

/// Operations a seed.
fn steps() -> usize {
    std::env::var("OUTCORE_TEST_STEPS").ok().and_then(|steps| steps.parse().ok()).unwrap_or(4_000)
}

/// Runs seeds, each with another number of usable frames.
fn run(seeds: std::ops::Range<u64>, steps: usize, change: impl Fn(&mut Setup)) {
    let operations = (seeds.end - seeds.start) * steps as u64;
    let mut counts: BTreeMap<FaultKind, u64> = BTreeMap::new();
    for seed in seeds {
        let mut setup = Setup::new(1 + seed % 64);
        change(&mut setup);
        let (result, ops) = record(seed, steps, &setup);
        let stats = result.as_ref().ok().cloned();
        if let Some(stats) = stats {
            for kind in FaultKind::ALL {
                *counts.entry(kind).or_default() += stats.of(kind).minor + stats.of(kind).major;
            }
            continue;
        }
        if let Err(failure) = result {
            let (ops, failure) = shrink::shrink(&setup, ops, failure);
            let script: String = ops.iter().map(|op| format!("{op}\n")).collect();
            panic!("seed {seed}: {failure}\n\n# outcore machine run {}\n{script}", setup.options());
        }
    }
    println!("{operations} operations: {counts:?}");
    // Operations that do nothing prove nothing.
    let faults: u64 = counts.values().sum();
    assert!(faults > operations / 20, "{faults} faults in {operations} operations");
    for kind in FaultKind::ALL {
        assert!(counts.get(&kind).is_some_and(|count| *count > 0), "no fault was {kind}: {counts:?}");
    }
}

/// Generates operations and carries them out: how it went, and what they were.
fn record(seed: u64, steps: usize, setup: &Setup) -> (Result<Stats, String>, Vec<Op>) {
    let mut generator = Generator::new(seed, setup);
    let mut ops = Vec::new();
    let result = check::follow(setup, &mut |world| {
        (ops.len() < steps).then(|| {
            ops.push(generator.operation(world));
            ops[ops.len() - 1].clone()
        })
    });
    (result, ops)
}

#[test]
fn bytes_survive_whatever_processes_do() {
    run(0..128, steps(), |_| {});
}

#[test]
fn bytes_survive_when_transfers_fail() {
    run(1_000..1_064, steps(), |setup| setup.failures = true);
}

#[test]
fn bytes_survive_under_lazy_commit_and_when_the_store_is_full() {
    run(2_000..2_032, steps(), |setup| {
        setup.commit = Commit::Lazy;
        setup.failures = true;
        setup.slots = 12;
    });
}

#[test]
fn bytes_survive_under_every_policy() {
    for (number, policy) in PolicyKind::ALL.into_iter().enumerate() {
        // OPT has to know the future.
        if policy != PolicyKind::Opt {
            let first = 3_072 + 64 * number as u64;
            run(first..first + 8, steps(), |setup| setup.policy = policy);
        }
    }
}

#[test]
fn bytes_survive_when_files_are_written_at_eviction_only() {
    run(4_000..4_010, steps(), |setup| setup.at_exit = false);
}

#[test]
fn bytes_survive_with_pages_of_4_kib() {
    run(5_056..5_064, steps() / 4, |setup| setup.page_size = 4 << 10);
}

#[test]
fn bytes_survive_with_pages_of_64_kib() {
    run(6_016..6_024, steps() / 16, |setup| setup.page_size = 64 << 10);
}

/// The shrinker itself: what is left of a failure still fails, and nothing can be left out.
#[test]
fn failures_shrink_to_the_operations_that_matter() {
    let setup = Setup::new(3);
    // Bytes that the machine does not know of are as good as a mistake that it makes.
    let at = |n| setup.base + n * setup.page_size;
    let mut ops = vec![Op::Create { parent: 0, child: 1 }, Op::Switch { pid: 1 }];
    ops.extend((0..6).map(|_| Op::Map));
    ops.extend((0..60).map(|n| Op::Read { addr: at(n % 6), count: 3 }));
    ops.push(shrink::SABOTAGE);
    ops.extend((0..60).map(|n| Op::Read { addr: at(n % 6), count: 3 }));
    let failure = check::check(&setup, &ops).expect_err("the sabotage is noticed");
    let (ops, _) = shrink::shrink(&setup, ops, failure);
    // A process, its turn, a page, the sabotage; the bytes are compared at the end.
    assert_eq!(ops.len(), 4, "{ops:?}");
    assert!(check::check(&setup, &ops).is_err());
}
