//! A column of a table that is compressed in memory, and decompressed a page at a time where it is
//! looked at: memory whose pages the program supplies.
//!
//! ```text
//! cargo run --release -p outcore-library --example column -- --rows 16M --budget 8M
//! ```

mod common;

use common::{PAGE, Random, arguments, heap};
use outcore::{Backing, BackingCall, BackingError, BackingOptions, MappedBacking};
use std::sync::Arc;

/// Values of a page.
const ROWS: u64 = PAGE / 8;

/// Times, ascending, as differences of seven bits a byte; where each page begins is known.
struct Column {
    first: Vec<(u64, usize)>,
    bytes: Vec<u8>,
}

impl Column {
    fn new(rows: u64) -> Self {
        let mut column = Self { first: Vec::new(), bytes: Vec::new() };
        let (mut random, mut time) = (Random(2), 1_700_000_000_000);
        for row in 0..rows {
            if row % ROWS == 0 {
                column.first.push((time, column.bytes.len()));
            }
            let mut step = random.below(20_000);
            time += step;
            while step > 0x7f {
                column.bytes.push(step as u8 | 0x80);
                step >>= 7;
            }
            column.bytes.push(step as u8);
        }
        column
    }

    /// The values of a page, from its differences.
    fn page(&self, number: usize) -> Result<impl Iterator<Item = u64>, String> {
        let (mut time, at) = *self.first.get(number).ok_or_else(|| format!("there is no page {number}"))?;
        let mut rest = self.bytes[at..].iter();
        Ok(core::iter::from_fn(move || {
            let mut shift = 0;
            loop {
                let byte = u64::from(*rest.next()?);
                time += (byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return Some(time);
                }
            }
        }))
    }
}

impl Backing for Shared {
    fn supply(&self, call: &BackingCall<'_>, bytes: &mut [u8]) -> Result<(), BackingError> {
        let first = (call.offset() / PAGE) as usize;
        for (number, page) in (first..).zip(bytes.chunks_mut(PAGE as usize)) {
            for (value, place) in self.0.page(number)?.zip(page.chunks_exact_mut(8)) {
                place.copy_from_slice(&value.to_le_bytes());
            }
        }
        Ok(())
    }
}

struct Shared(Arc<Column>);

fn value(map: &MappedBacking, row: u64) -> u64 {
    let mut bytes = [0; 8];
    map.read(8 * row as usize, &mut bytes).expect("a row");
    u64::from_le_bytes(bytes)
}

/// The first row that is not before `time`.
fn search(map: &MappedBacking, rows: u64, time: u64) -> u64 {
    let (mut from, mut to) = (0, rows);
    while from < to {
        let middle = from.midpoint(to);
        if value(map, middle) < time { from = middle + 1 } else { to = middle }
    }
    from
}

fn main() {
    let [rows, budget] = arguments([("rows", 4 << 20), ("budget", 4 << 20)]);
    let column = Arc::new(Column::new(rows));
    let heap = heap(budget);
    let options = BackingOptions::read_only(8 * rows as usize).name("the column of times");
    let map =
        heap.map_backing(Shared(Arc::clone(&column)), options).unwrap_or_else(|error| panic!("{error}"));

    // In order, all of it, beside the column itself.
    let mut row = 0;
    for number in 0..column.first.len() {
        for value_of in column.page(number).expect("a page").take(ROWS.min(rows - row) as usize) {
            assert_eq!(value(&map, row), value_of);
            row += 1;
        }
    }
    // And at random.
    let mut random = Random(3);
    let (first, last) = (value(&map, 0), value(&map, rows - 1));
    for _ in 0..2000 {
        let time = first + random.below(last - first);
        let row = search(&map, rows, time);
        assert!(value(&map, row) >= time && (row == 0 || value(&map, row - 1) < time));
    }
    let stats = heap.stats();
    println!(
        "pages: {} of the column, {} in the budget, {} written, {} supplied",
        (8 * rows).div_ceil(PAGE),
        stats.budget_bytes / PAGE,
        stats.file_writes + stats.swap_outs,
        stats.file_reads
    );
    println!("{rows} rows, compressed to {} MiB of {}, are all found", column.bytes.len() >> 20, rows >> 17);
}
