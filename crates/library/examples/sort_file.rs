#![expect(unsafe_code, reason = "sorts a map that nobody else uses")]
//! Sorts a file of 64-bit integers where it lies, in an eighth of its size.
//!
//! ```text
//! cargo run --release -p outcore-library --example sort_file -- --numbers 64M --budget 64M
//! ```

mod common;

use common::{Random, arguments, heap};
use outcore::{MapOptions, MappedFile};
use std::error::Error;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};

/// The integers of a map.
fn numbers(map: &mut MappedFile) -> &mut [u64] {
    let (start, len): (*mut u64, usize) = (map.as_mut_ptr().cast(), map.len() / 8);
    // SAFETY: a map begins at a page, and is borrowed; this program alone has the file.
    unsafe { std::slice::from_raw_parts_mut(start, len) }
}

/// The integers of a file by read(2): in their order, as `each` sees them.
fn read(file: &mut File, count: u64, mut each: impl FnMut(u64)) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    for _ in 0..count {
        let mut bytes = [0; 8];
        reader.read_exact(&mut bytes)?;
        each(u64::from_ne_bytes(bytes));
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let [count, budget] = arguments([("numbers", 8 << 20), ("budget", 8 << 20)]);
    let mut file = tempfile::tempfile_in("/var/tmp")?;
    let mut random = Random(1);
    let mut sum = 0u64;
    let mut writer = BufWriter::with_capacity(1 << 20, &file);
    for _ in 0..count {
        let number = random.next();
        sum = sum.wrapping_add(number);
        writer.write_all(&number.to_ne_bytes())?;
    }
    writer.flush()?;
    drop(writer);

    let heap = heap(budget);
    let mut map = heap.map_file(&file, MapOptions::shared())?;
    numbers(&mut map).sort_unstable();
    map.flush(..)?;
    let stats = heap.stats();
    map.close()?;
    let (pages, held) = (count * 8 / common::PAGE, stats.budget_bytes / common::PAGE);
    println!(
        "pages: {pages} of the file, {held} in the budget, {} written, {} read",
        stats.file_writes, stats.file_reads
    );

    let (mut last, mut found) = (0, 0u64);
    let mut in_order = true;
    read(&mut file, count, |number| {
        in_order &= number >= last;
        last = number;
        found = found.wrapping_add(number);
    })?;
    assert!(in_order, "the file is not in order");
    assert_eq!(found, sum, "the numbers are not those that were there before");
    println!("{count} numbers are in order, and are those that were there before");
    Ok(())
}
