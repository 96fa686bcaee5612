//! Sorts a file of 100-byte records that is larger than RAM, with the standard library's
//! `sort_unstable`: the records are a slice in paged memory.
//!
//! ```text
//! cargo run --release -p outcore-library --example sort -- --records 600K --budget 15M
//! ```

mod common;

use allocator_api2::vec::Vec as PagedVec;
use common::{Peak, Random, arguments, heap, mixed};
use std::fs::File;
use std::io::{BufReader, BufWriter, Error, Read as _, Seek as _, SeekFrom, Write as _};

/// The first ten bytes are what is sorted by.
type Record = [u8; 100];

fn record(random: &mut Random, number: u64) -> Record {
    let mut record = [0; 100];
    record[..8].copy_from_slice(&random.next().to_be_bytes());
    record[8..10].copy_from_slice(&(random.next() as u16).to_be_bytes());
    record[10..18].copy_from_slice(&number.to_le_bytes());
    for (place, byte) in record[18..].iter_mut().enumerate() {
        *byte = (number as usize + place) as u8;
    }
    record
}

/// The same for the same records in whatever order.
fn sum_of(sum: u64, record: &Record) -> u64 {
    let words = record.chunks(8).map(|word| {
        let mut bytes = [0; 8];
        bytes[..word.len()].copy_from_slice(word);
        u64::from_le_bytes(bytes)
    });
    sum.wrapping_add(words.fold(0, |sum, word| mixed(sum ^ word)))
}

/// A file without a name, that is gone when it is closed.
fn scratch() -> Result<File, Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = File::options();
    options.read(true).write(true).custom_flags(libc::O_TMPFILE).open("/var/tmp")
}

fn main() -> Result<(), Error> {
    let [records, budget] = arguments([("records", 300 << 10), ("budget", 7 << 20)]);
    let mut random = Random(1);
    let mut unsorted = BufWriter::new(scratch()?);
    let mut sum = 0;
    for number in 0..records {
        let record = record(&mut random, number);
        sum = sum_of(sum, &record);
        unsorted.write_all(&record)?;
    }
    let mut unsorted = unsorted.into_inner().map_err(|error| error.into_error())?;
    unsorted.seek(SeekFrom::Start(0))?;

    let heap = heap(budget);
    let mut peak = Peak::default();
    let mut data: PagedVec<Record, _> = PagedVec::with_capacity_in(records as usize, heap.clone());
    let mut reader = BufReader::with_capacity(1 << 20, unsorted);
    for _ in 0..records {
        let mut record = [0; 100];
        reader.read_exact(&mut record)?;
        data.push(record);
    }
    peak.look(&heap);
    data.sort_unstable_by(|one, other| one[..10].cmp(&other[..10]));
    let mut sorted = BufWriter::with_capacity(1 << 20, scratch()?);
    for record in &data {
        sorted.write_all(record)?;
    }
    peak.report(&heap);

    let mut sorted = sorted.into_inner().map_err(|error| error.into_error())?;
    sorted.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(1 << 20, sorted);
    let (mut last, mut found) = ([0; 10], 0);
    for number in 0..records {
        let mut record = [0; 100];
        reader.read_exact(&mut record)?;
        assert!(record[..10] >= last[..], "record {number} comes before the one before it");
        last.copy_from_slice(&record[..10]);
        found = sum_of(found, &record);
    }
    assert_eq!(reader.read(&mut [0])?, 0, "the file has more than the records");
    assert_eq!(found, sum, "the records are not those that were there before");
    println!("{records} records are in order, and are those that were there before");
    Ok(())
}
