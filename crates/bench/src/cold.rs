//! Objects that are not in memory: what freeing them costs, and what churning does.

use crate::blocks::{Block, keep_in_memory};
use crate::numbers::Random;
use crate::phase::phase;

/// Objects of 64 to 512 bytes; half as long is as frequent.
fn size(random: &mut Random) -> usize {
    let base = 64 << random.below(3);
    base + random.below(base)
}

/// What they are long at least.
const LEAST: usize = 64;

/// Fills `mib` MiB with objects, touches some at random, churns as many, and frees all in
/// random order.
pub(crate) fn run(mib: usize, touches: usize) {
    let mut random = Random::new(1);
    // The list stays in memory, so that only what the objects cost is measured.
    let mut objects: Vec<Block> = Vec::with_capacity((mib << 20) / (2 * LEAST));
    let mut bytes = 0;
    phase("fill", mib << 20, mib * 256, || {
        while bytes < mib << 20 && objects.len() < objects.capacity() {
            let size = size(&mut random);
            objects.push(Block::new(size));
            bytes += size;
        }
    });
    if !keep_in_memory(&objects) {
        eprintln!("outcore-workload: the list of objects may be paged as well: mlock is refused");
    }
    for index in (1..objects.len()).rev() {
        objects.swap(index, random.below(index + 1));
    }
    let picks = |objects: &[Block]| {
        let mut random = Random::new(2);
        let count = objects.len();
        (0..touches).map(move |_| random.below(count)).collect::<Vec<usize>>()
    };
    let picked = picks(&objects);
    // Both begin with what the same touches leave in memory.
    picked.iter().for_each(|index| objects[*index].touch());
    phase("touch", 0, touches, || picked.iter().for_each(|index| objects[*index].touch()));
    phase("churn", 0, touches, || {
        for index in &picked {
            // What was there is used, then given up for something of another size.
            objects[*index].touch();
            objects[*index] = Block::new(size(&mut random));
        }
    });
    let count = objects.len();
    // Backwards, which is as random as forwards.
    phase("free", 0, count, || while objects.pop().is_some() {});
}
