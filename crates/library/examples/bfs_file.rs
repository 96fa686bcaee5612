//! Goes through a graph breadth first that lies in a file, in compressed sparse rows: for
//! each node where its edges begin, then the edges. A quarter of the file is in memory.
//!
//! ```text
//! cargo run --release -p outcore-library --example bfs_file -- --nodes 1M --degree 16 --budget 18M
//! ```

mod common;

use common::{arguments, heap, mixed};
use outcore::{FileAdvice, FileError, MapOptions, MappedFile};
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;

/// How the graph is read.
trait Rows {
    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Box<dyn Error>>;
}

impl Rows for MappedFile {
    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Box<dyn Error>> {
        MappedFile::read(self, offset, bytes).map_err(|error: FileError| error.into())
    }
}

impl Rows for File {
    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Box<dyn Error>> {
        Ok(self.read_exact_at(bytes, offset as u64)?)
    }
}

const UNSEEN: u32 = u32::MAX;

/// The distance of each node from the first.
fn distances(rows: &impl Rows, nodes: usize) -> Result<Vec<u32>, Box<dyn Error>> {
    let edges = (nodes + 1) * 8;
    let mut distances = vec![UNSEEN; nodes];
    let (mut frontier, mut next) = (vec![0u32], Vec::new());
    let mut row = Vec::new();
    distances[0] = 0;
    for distance in 1.. {
        for node in frontier.drain(..) {
            let mut ends = [0; 16];
            rows.read(node as usize * 8, &mut ends)?;
            let [start, end] = [0, 8].map(|at| {
                let mut word = [0; 8];
                word.copy_from_slice(&ends[at..at + 8]);
                u64::from_ne_bytes(word) as usize
            });
            row.resize((end - start) * 4, 0);
            rows.read(edges + start * 4, &mut row)?;
            for bytes in row.as_chunks().0 {
                let target = u32::from_ne_bytes(*bytes);
                if distances[target as usize] == UNSEEN {
                    distances[target as usize] = distance;
                    next.push(target);
                }
            }
        }
        if next.is_empty() {
            break;
        }
        // In the order of the file.
        next.sort_unstable();
        std::mem::swap(&mut frontier, &mut next);
    }
    Ok(distances)
}

fn main() -> Result<(), Box<dyn Error>> {
    let [nodes, degree, budget] = arguments([("nodes", 256 << 10), ("degree", 24), ("budget", 6 << 20)]);
    let file = tempfile::tempfile_in("/var/tmp")?;
    let mut writer = BufWriter::with_capacity(1 << 20, &file);
    for node in 0..=nodes {
        writer.write_all(&(node * degree).to_ne_bytes())?;
    }
    for edge in 0..nodes * degree {
        let target = ((u128::from(mixed(edge + 1)) * u128::from(nodes)) >> 64) as u32;
        writer.write_all(&target.to_ne_bytes())?;
    }
    writer.flush()?;
    drop(writer);

    let heap = heap(budget);
    let map = heap.map_file(&file, MapOptions::read_only())?;
    map.advise(.., FileAdvice::Random)?;
    let found = distances(&map, nodes as usize)?;
    let stats = heap.stats();
    let pages = (map.len() as u64).div_ceil(common::PAGE);
    let held = stats.budget_bytes / common::PAGE;
    println!(
        "pages: {pages} of the file, {held} in the budget, {} written, {} read",
        stats.file_writes, stats.file_reads
    );
    assert_eq!(found, distances(&file, nodes as usize)?, "the distances are not those that read(2) gives");
    let (reached, farthest) = (
        found.iter().filter(|distance| **distance != UNSEEN).count(),
        found.iter().filter(|distance| **distance != UNSEEN).max().unwrap_or(&0),
    );
    println!("{reached} of {nodes} nodes are reached, the farthest by {farthest} edges, as by read(2)");
    Ok(())
}
