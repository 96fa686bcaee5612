//! Whole files: what is written is read, and of what is spoilt, everything that is not.

use proptest::prelude::*;
use std::io::Cursor;
use trace::{BlockHead, BlockKind, Event, Header, Outcome, Problem, Reader, Source, Stamped, Writer};

fn header() -> Header {
    Header {
        page_bytes: 4096,
        source: Source::Faults,
        budget_bytes: 64 << 20,
        slots: 1000,
        readahead: true,
        started: 1_700_000_000,
        program: "sort -S 4G".into(),
    }
}

/// A trace of two processes with `touches` touches, and what is in it.
fn trace(touches: u64) -> (Vec<u8>, Vec<(u32, Stamped)>) {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &header()).unwrap();
    let mut all = Vec::new();
    for at in 0..touches {
        let pid = 100 + (at / 5000 % 2) as u32;
        let event = Event::Touch { page: 0x7f00_0000 + at * at % 9973, outcome: Outcome::Swapped };
        let thread = 7 + (at % 3) as u32;
        writer.add(pid, 1000 + at, thread, &event).unwrap();
        all.push((pid, Stamped { time: 1000 + at, thread, event }));
    }
    writer.finish().unwrap();
    (bytes, all)
}

/// Events with their processes, and what was wrong.
type Found = (Vec<(u32, Stamped)>, Vec<String>);

fn read(bytes: &[u8]) -> Result<Found, Problem> {
    let mut reader = Reader::open(Cursor::new(bytes))?;
    let mut found = Vec::new();
    while let Some(block) = reader.next_block() {
        found.extend(block.events().map(|event| (block.head.pid, event)));
    }
    let problems = reader.problems().0.iter().map(ToString::to_string).collect();
    Ok((found, problems))
}

#[test]
fn what_is_written_is_read() {
    let (bytes, all) = trace(30_000);
    assert_eq!(Reader::open(&bytes[..]).unwrap().header(), &header());
    assert_eq!(read(&bytes).unwrap(), (all, vec![]));
    assert!(bytes.len() < 8 * 30_000, "{} bytes", bytes.len());
}

#[test]
fn texts_and_sources_are_kept() {
    for source in [Source::Faults, Source::References, Source::Samples(64)] {
        let mut bytes = Vec::new();
        let header = Header { source, program: "two\nlines".into(), ..header() };
        let mut writer = Writer::new(&mut bytes, &header).unwrap();
        writer.text(BlockKind::Summary, 5, 9, "major_faults=3\n").unwrap();
        writer.finish().unwrap();
        let mut reader = Reader::open(&bytes[..]).unwrap();
        assert_eq!(reader.header().source, source);
        assert_eq!(reader.header().program, "two lines");
        let block = reader.next_block().unwrap();
        assert_eq!(trace::summary(block.text()), [("major_faults".to_owned(), 3)]);
        assert!(reader.next_block().is_none());
    }
}

#[test]
fn a_file_that_is_cut_off_is_read_up_to_there() {
    let (bytes, all) = trace(30_000);
    let (found, problems) = read(&bytes[..bytes.len() - 10]).unwrap();
    assert!(all.starts_with(&found) && found.len() > 20_000 && found.len() < all.len());
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains("the file ends within a block"), "{problems:?}");
}

#[test]
fn a_spoilt_block_is_passed_over_and_named() {
    let (bytes, all) = trace(40_000);
    let mut spoilt = bytes.clone();
    let middle = spoilt.len() / 2;
    spoilt[middle..middle + 100].fill(0x55);
    let (found, problems) = read(&spoilt).unwrap();
    assert!(found.len() < all.len() && found.len() > all.len() / 2);
    assert!(found.iter().all(|event| all.contains(event)));
    assert!(problems.iter().all(|problem| problem.contains("bytes are spoilt")), "{problems:?}");
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn what_is_no_trace_is_refused_with_a_reason() {
    let refused = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert!(refused(b"").contains("no trace"));
    assert!(refused(b"12\n13\n14\n15\n16\n17\n18").contains("outcore trace import"));
    let (mut bytes, _) = trace(1);
    bytes[8] = 9;
    assert!(refused(&bytes).contains("version 9"));
    let (mut bytes, _) = trace(1);
    bytes[30] ^= 1;
    assert!(refused(&bytes).contains("spoilt header"));
    let (bytes, _) = trace(1);
    assert!(refused(&bytes[..40]).contains("spoilt header"));
}

#[test]
fn what_was_dropped_and_what_is_unknown_is_told() {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &header()).unwrap();
    let head = BlockHead { kind: BlockKind::Events, pid: 4, events: 0, dropped: 17, time: 0 };
    writer.block(&head, &[]).unwrap();
    writer.block(&BlockHead { kind: BlockKind::Unknown(b'Z'), dropped: 0, ..head }, b"what").unwrap();
    writer.block(&BlockHead { dropped: 0, ..head }, &[31, 1, 2]).unwrap();
    writer.finish().unwrap();
    let (_, problems) = read(&bytes).unwrap();
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert_eq!(problems[0], "process 4: 17 events were dropped, because the buffer was full");
    assert!(problems[1].contains("an unknown kind 'Z'"));
    assert!(problems[2].contains("3 bytes of the block hold no known event"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Of a trace with some bytes changed, added or removed, every event that is read was written, blocks
    /// apart from the changes are read, and nothing worse happens.
    #[test]
    fn spoilt_traces_are_read_where_they_are_whole(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let (whole, all) = trace(12_000);
        let known: std::collections::HashSet<String> = all.iter().map(|event| format!("{event:?}")).collect();
        let mut bytes = whole.clone();
        for (place, value, how) in changes {
            let at = place.index(bytes.len());
            match how {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                _ => drop(bytes.remove(at)),
            }
        }
        if let Ok((found, problems)) = read(&bytes) {
            let strange = found.iter().find(|event| !known.contains(&format!("{event:?}")));
            prop_assert_eq!(strange, None);
            prop_assert!(found.len() == all.len() || !problems.is_empty());
        }
    }

    #[test]
    fn any_bytes_after_a_header_are_read_or_named(
        tail in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(prop::sample::select(b"OCTBEMS\0\x01".to_vec()), 0..300),
        ],
    ) {
        let (mut bytes, _) = trace(0);
        bytes.extend_from_slice(&tail);
        let (found, problems) = read(&bytes).unwrap();
        prop_assert!(found.is_empty());
        prop_assert_eq!(problems.is_empty(), tail.is_empty());
    }
}
