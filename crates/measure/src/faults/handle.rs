//! Blocks by handle: what takes a fault elsewhere is a call here.

use super::parts::batches;
use super::{Figures, Kind, Measured, missing};
use handles::{AllocError, MemoryStore, VirtualHeap};
use std::error::Error;
use std::hint::black_box;

const BLOCKS: usize = 2048;

/// The kinds that are measured here.
pub const KINDS: [Kind; 1] = [Kind::Handle];

/// Measures calls for blocks that are in memory, under the default policy.
///
/// # Errors
/// The heap refuses.
pub fn measure(tell: &mut dyn FnMut(Kind, Measured)) -> Result<(), Box<dyn Error>> {
    let heap = VirtualHeap::builder().store(MemoryStore::new()).build()?;
    let blocks = (0..BLOCKS).map(|_| heap.alloc(4096)).collect::<Result<Vec<_>, AllocError>>()?;
    for block in &blocks {
        heap.write(*block, 0, &[1; 4096])?;
    }
    let mut failed = None;
    // Every call is for another block than the one before, in no simple order.
    let nanoseconds = batches(|number| match heap.check(blocks[number * 769 % BLOCKS]) {
        Ok(address) => {
            black_box(address);
        }
        Err(error) => failed = Some(error),
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    tell(Kind::Handle, Figures::of(nanoseconds).ok_or_else(|| missing("check")));
    Ok(())
}
