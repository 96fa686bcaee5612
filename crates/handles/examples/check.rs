//! What a call for a block in memory costs: check, read, write, pin.
//!
//! `cargo xtask bench handles`, which fails when a check takes longer than it may.

use handles::{MemoryStore, PolicyKind, VirtualHeap};
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

const BLOCKS: usize = 2048;
const CALLS: usize = 2_000_000;
/// Nanoseconds that a check may take.
const MOST: f64 = 100.0;
/// Runs of each, of which the median counts.
const ROUNDS: usize = 7;

/// Nanoseconds of a call, the median of the rounds.
fn measure(mut call: impl FnMut(usize) -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for number in 0..CALLS {
            // Every call is for another block than the one before, in no simple order.
            call(black_box(number * 769 % BLOCKS))?;
        }
        rounds.push(start.elapsed().as_nanos() as f64 / CALLS as f64);
    }
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[ROUNDS / 2])
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("| policy | check | read 8 bytes | write 8 bytes | read 4096 bytes | pin and release |");
    println!("|--------|------:|-------------:|--------------:|----------------:|----------------:|");
    for policy in [PolicyKind::Clock, PolicyKind::Lru, PolicyKind::S3Fifo, PolicyKind::First] {
        let builder = VirtualHeap::builder().policy(policy).store(MemoryStore::new());
        let heap = builder.build()?;
        let blocks: Vec<_> = (0..BLOCKS).map(|_| heap.alloc(4096)).collect::<Result<_, _>>()?;
        for block in &blocks {
            heap.write(*block, 0, &[1; 4096])?;
        }
        let mut page = [0; 4096];
        let check = measure(|number| {
            black_box(heap.check(blocks[number])?);
            Ok(())
        })?;
        let read = measure(|number| Ok(heap.read(blocks[number], 64, black_box(&mut page[..8]))?))?;
        let write = measure(|number| Ok(heap.write(blocks[number], 64, black_box(&[7; 8]))?))?;
        let read_page = measure(|number| Ok(heap.read(blocks[number], 0, black_box(&mut page))?))?;
        let pin = measure(|number| {
            black_box(heap.pin(blocks[number])?.as_ptr());
            Ok(())
        })?;
        assert_eq!(heap.stats().major_faults, 0, "everything is in memory");
        if check > MOST {
            return Err(format!("a check takes {check:.0} ns with {policy}, and may take {MOST}").into());
        }
        println!(
            "| {policy:6} | {check:.0} ns | {read:.0} ns | {write:.0} ns | {read_page:.0} ns | {pin:.0} ns |"
        );
    }
    Ok(())
}
