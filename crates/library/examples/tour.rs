//! What docs/library.md shows, in one program.

use allocator_api2::vec::Vec as PagedVec;
use outcore::{Advice, Commit, Heap, Place};
use std::error::Error;

const MIB: usize = 1 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    // A collection four times as large as the RAM it may take.
    let heap = Heap::builder().budget(8 << 20).build()?;
    let mut squares: PagedVec<u64, Heap> = PagedVec::with_capacity_in(4 << 20, heap.clone());
    squares.extend((0..4u64 << 20).map(|n| n * n));
    assert!(squares.iter().zip(0u64..).all(|(square, n)| *square == n * n));
    println!("{}\n", heap.stats());

    // Pages by the range.
    let arena = heap.arena(64 * MIB)?;
    let mut pages = arena.alloc(16 * MIB)?;
    pages.fill(1);
    println!("filled:    {:?}", pages.usage(..)?);
    pages.pin(..2 * MIB)?;
    pages.discard(8 * MIB..)?;
    pages.advise(2 * MIB..8 * MIB, Advice::Cold)?;
    println!("pinned:    {:?}", pages.usage(..2 * MIB)?);
    println!("cold:      {:?}", pages.usage(2 * MIB..8 * MIB)?);
    println!("discarded: {:?}\n", pages.usage(8 * MIB..)?);

    // Typed objects, and what an address belongs to.
    let pairs = heap.family::<[u64; 2]>("pair")?;
    let row = pairs.alloc_slice_with(100, |n| [n as u64; 2])?;
    if let Some(Place::Family(found)) = heap.locate(&raw const row[70] as usize) {
        println!("family {:?}, a block of {} bytes", heap.families().registered()[1].name, found.size);
    }

    // Promises that are kept, or not made.
    let strict = Heap::builder().budget(8 << 20).store_size(16 << 20).commit(Commit::Strict).build()?;
    let mut data: PagedVec<u8, Heap> = PagedVec::new_in(strict.clone());
    println!("12 MiB: {:?}", data.try_reserve_exact(12 * MIB).is_ok());
    println!("24 MiB: {:?}", data.try_reserve_exact(24 * MIB).is_ok());
    let arena = strict.arena(64 * MIB)?;
    if let Err(refused) = arena.alloc(20 * MIB) {
        println!("20 MiB more: {refused}");
    }
    Ok(())
}
