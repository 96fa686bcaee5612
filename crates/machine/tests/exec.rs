//! Executing real files, and files that lie.

use machine::{Direction, ExecError, ImageError, Machine, Settings};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Endianness, elf};
use pager::space::{Access, FaultKind};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: u64 = 4096;

fn machine(files: &Path, change: impl FnOnce(&mut Settings)) -> Machine {
    let mut settings = Settings {
        page_size: PAGE,
        frames: 64,
        slots: 1 << 20,
        files: files.to_path_buf(),
        ..Settings::default()
    };
    change(&mut settings);
    let mut machine = Machine::new(settings).expect("a machine that is possible");
    machine.create(0, 1).expect("a new process");
    machine.switch(1).expect("it is there");
    machine
}

/// The part of an ELF file that these tests write: segments of one kind.
struct Piece {
    addr: u64,
    offset: u64,
    file_size: u64,
    memory_size: u64,
    flags: u32,
}

/// A file of `len` bytes with these segments; byte `n` after the headers is `n` divided by 251.
fn elf_file(kind: u16, pieces: &[Piece], len: usize) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    file.extend(kind.to_le_bytes());
    file.extend(elf::EM_X86_64.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    for word in [0x40_1000_u64, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, pieces.len() as u16, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    for piece in pieces {
        file.extend(elf::PT_LOAD.to_le_bytes());
        file.extend(piece.flags.to_le_bytes());
        for word in [piece.offset, piece.addr, piece.addr, piece.file_size, piece.memory_size, PAGE] {
            file.extend(word.to_le_bytes());
        }
    }
    while file.len() < len {
        file.push((file.len() % 251) as u8);
    }
    file
}

/// Every segment's every byte, as the file has it and then zeros, and nothing is read before.
fn compare(path: &Path) {
    let directory = path.parent().expect("a directory");
    let name = path.file_name().expect("a name").to_str().expect("a plain name");
    let mut machine = machine(directory, |_| {});
    let image = machine.exec(name.as_bytes()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(machine.requests().is_empty(), "nothing is loaded");
    let file = fs::read(path).expect("the file");
    // The segments are those that the file's headers have.
    let header = elf::FileHeader64::<Endianness>::parse(&*file).expect("a header");
    let endian = header.endian().expect("an order of bytes");
    let headers = header.program_headers(endian, &*file).expect("headers");
    let wanted = headers.iter().filter(|header| header.p_type(endian) == elf::PT_LOAD).count();
    assert_eq!(image.segments.len(), wanted);
    let mut pages = 0;
    for segment in &image.segments {
        for offset in (0..segment.memory_size).step_by(PAGE as usize) {
            let count = PAGE.min(segment.memory_size - offset);
            let readable = segment.prot.allows(Access::Read);
            assert!(readable, "segments without the right to read are not expected here");
            let found = machine.read(segment.addr + offset, count).expect("it is mapped");
            let from = (segment.offset + offset) as usize;
            let there = segment.file_size.saturating_sub(offset).min(count) as usize;
            let mut wanted = if there > 0 { file[from..from + there].to_vec() } else { Vec::new() };
            wanted.resize(count as usize, 0);
            assert!(found == wanted, "{}: page at {:#x}", path.display(), segment.addr + offset);
            pages += 1;
        }
    }
    assert!(pages > 2, "{} has {pages} pages", path.display());
    assert_eq!(machine.transfers(Direction::Write, true), 0, "clean pages are dropped");
    machine.check();
}

#[test]
fn bin_true_is_page_for_page_its_file() {
    compare(&fs::canonicalize("/bin/true").expect("there is one"));
}

#[test]
fn this_very_program_is_page_for_page_its_file() {
    compare(&std::env::current_exe().expect("it runs"));
}

#[test]
fn of_a_file_of_100_pages_30_touched_are_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let len = 101 * PAGE;
    let piece = Piece {
        addr: 0x40_0000,
        offset: PAGE,
        file_size: 100 * PAGE,
        memory_size: 100 * PAGE,
        flags: elf::PF_R,
    };
    fs::write(directory.path().join("hundred"), elf_file(elf::ET_EXEC, &[piece], len as usize))
        .expect("a file");
    let mut machine = machine(directory.path(), |_| {});
    machine.exec(b"hundred").expect("an ELF file");
    for n in 0..30 {
        let addr = 0x40_0000 + n * 3 * PAGE + 7;
        let wanted = ((PAGE + n * 3 * PAGE + 7) % 251) as u8;
        assert_eq!(machine.load(addr), Ok(wanted));
        assert_eq!(machine.load(addr + 1), Ok(((PAGE + n * 3 * PAGE + 8) % 251) as u8));
    }
    assert_eq!(machine.transfers(Direction::Read, false), 30);
    assert_eq!(machine.stats().of(FaultKind::File).major, 30);
    assert_eq!(machine.stats().total().minor, 0);
}

/// Text is shared and dropped; data is copied when written and goes to swap; bss is zeros.
#[test]
fn segments_have_their_rights_and_their_places() {
    let directory = tempfile::tempdir().expect("a directory");
    let pieces = [
        Piece {
            addr: 0x40_0000,
            offset: 0,
            file_size: 2 * PAGE,
            memory_size: 2 * PAGE,
            flags: elf::PF_R | elf::PF_X,
        },
        Piece {
            addr: 0x50_0010,
            offset: 2 * PAGE + 0x10,
            file_size: PAGE,
            memory_size: 3 * PAGE,
            flags: elf::PF_R | elf::PF_W,
        },
    ];
    let file = elf_file(elf::ET_EXEC, &pieces, 4 * PAGE as usize);
    fs::write(directory.path().join("program"), &file).expect("a file");
    let mut machine = machine(directory.path(), |settings| settings.frames = 3);
    machine.exec(b"program").expect("an ELF file");
    assert_eq!(machine.fetch(0x40_0000 + PAGE), Ok(file[PAGE as usize]));
    // The last page with bytes of the file, zeros after them, then bss.
    let last = 0x50_0010 + PAGE - 1;
    assert_eq!(machine.read(last, 2), Ok(vec![file[3 * PAGE as usize + 0xf], 0]));
    machine.begin();
    assert_eq!(machine.load(0x50_0000 + 2 * PAGE), Ok(0));
    assert!(machine.requests().is_empty() && machine.faults().is_empty(), "a page of zeros is no transfer");
    machine.store(0x50_0010, b'w').expect("data can be written");
    machine.store(0x50_0000 + 2 * PAGE, b'z').expect("bss can be written");
    machine.fetch(0x40_0000).expect("text");
    machine.fetch(0x40_0000 + PAGE).expect("text");
    assert_eq!(machine.load(0x50_0010), Ok(b'w'));
    assert_eq!(machine.load(0x50_0000 + 2 * PAGE), Ok(b'z'));
    assert_eq!(machine.transfers(Direction::Write, false), 0, "the file is not written");
    assert_eq!(machine.transfers(Direction::Write, true), 2, "both pages were written to swap once");
    machine.push(8).expect("there is a stack");
    machine.check();
    assert!(machine.store(0x40_0000, 0).is_err(), "text cannot be written");
    assert_eq!(machine.current(), None, "the process was killed for it");
    machine.check();
}

#[test]
fn what_the_process_had_is_gone_after_exec_and_stays_when_it_fails() {
    let directory = tempfile::tempdir().expect("a directory");
    let piece = Piece { addr: 0x40_0000, offset: 0, file_size: PAGE, memory_size: PAGE, flags: elf::PF_R };
    fs::write(directory.path().join("program"), elf_file(elf::ET_DYN, &[piece], PAGE as usize))
        .expect("a file");
    fs::write(directory.path().join("text"), "#!/bin/sh\n").expect("a file");
    let mut machine = machine(directory.path(), |_| {});
    let base = machine.settings().base;
    machine.map().expect("a slot");
    machine.store(base, b'm').expect("memory");
    assert!(matches!(machine.exec(b"text"), Err(ExecError::Image(ImageError::Unreadable(_)))));
    assert!(matches!(machine.exec(b"missing"), Err(ExecError::File(_))));
    assert_eq!(machine.load(base), Ok(b'm'));
    let image = machine.exec(b"program").expect("an ELF file");
    assert!(image.segments[0].addr > 1 << 40, "it can be anywhere, and not where it says");
    machine.check();
    assert_eq!(machine.spaces().slots_reserved(), 1, "for the stack's page");
    assert!(machine.load(base).is_err());
}

fn refused(pieces: &[Piece], len: u64) -> ImageError {
    let file = elf_file(elf::ET_EXEC, pieces, len as usize);
    machine::Image::read(&file[..], file.len() as u64, PAGE).expect_err("it lies")
}

#[test]
fn files_that_lie_are_refused_with_the_numbers() {
    let good = || Piece { addr: 0x40_0000, offset: 0, file_size: PAGE, memory_size: PAGE, flags: elf::PF_R };
    let cases: Vec<(Vec<Piece>, &str)> = vec![
        (vec![Piece { file_size: 3 * PAGE, memory_size: 3 * PAGE, ..good() }], "truncated"),
        (vec![Piece { offset: u64::MAX - 4095, ..good() }], "truncated"),
        (vec![Piece { file_size: PAGE, memory_size: 5, ..good() }], "only 5 in memory"),
        (vec![Piece { memory_size: u64::MAX, ..good() }], "and the stack"),
        (vec![Piece { addr: u64::MAX - 4095, ..good() }], "and the stack"),
        (vec![Piece { addr: 0, ..good() }], "and the stack"),
        // Where the stack begins.
        (vec![Piece { addr: 0x7fff_bfff_f000, ..good() }], "and the stack"),
        (vec![Piece { addr: 0x7fff_f000_0000, ..good() }], "and the stack"),
        (vec![Piece { addr: 0x40_0010, ..good() }], "differ within a page"),
        (vec![good(), Piece { addr: 0x40_0000, ..good() }], "page of another"),
        (vec![Piece { memory_size: 1 << 46, ..good() }], "a process may have"),
        (vec![], "no segment"),
    ];
    for (pieces, words) in cases {
        let message = refused(&pieces, 2 * PAGE).to_string();
        assert!(message.contains(words), "{message:?} does not say {words:?}");
    }
    let relocatable = elf_file(elf::ET_REL, &[good()], 8192);
    let message = machine::Image::read(&relocatable[..], 8192, PAGE).expect_err("no program").to_string();
    assert!(message.contains("type 1"), "{message}");
    // Segments that share a page of 64 KiB do not share one of 4 KiB.
    let pair = [good(), Piece { addr: 0x40_1000, ..good() }];
    let file = elf_file(elf::ET_EXEC, &pair, 8192);
    assert!(machine::Image::read(&file[..], 8192, PAGE).is_ok());
    let message = machine::Image::read(&file[..], 8192, 65536).expect_err("they share a page").to_string();
    assert!(message.contains("65536") || message.contains("differ within"), "{message}");
}

/// The highest place that a segment may have is just below the stack's first page.
#[test]
fn a_segment_may_end_where_the_stack_begins() {
    let piece =
        Piece { addr: 0x7fff_bfff_e000, offset: 0, file_size: PAGE, memory_size: PAGE, flags: elf::PF_R };
    let directory = tempfile::tempdir().expect("a directory");
    let file = elf_file(elf::ET_EXEC, &[piece], 2 * PAGE as usize);
    fs::write(directory.path().join("high"), file).expect("a file");
    let mut machine = machine(directory.path(), |_| {});
    machine.exec(b"high").expect("there is a gap");
    machine.push(8).expect("there is a stack");
    machine.check();
}

#[test]
fn pages_of_64_kib_load_files_that_are_made_for_them() {
    let directory = tempfile::tempdir().expect("a directory");
    const BIG: u64 = 64 << 10;
    let piece = Piece {
        addr: 0x40_0000,
        offset: 0,
        file_size: BIG + 100,
        memory_size: 2 * BIG,
        flags: elf::PF_R | elf::PF_W,
    };
    let file = elf_file(elf::ET_EXEC, &[piece], 2 * BIG as usize);
    fs::write(directory.path().join("program"), &file).expect("a file");
    let mut machine = machine(directory.path(), |settings| settings.page_size = BIG);
    machine.exec(b"program").expect("an ELF file");
    assert_eq!(
        machine.read(0x40_0000 + BIG + 98, 4),
        Ok(vec![file[BIG as usize + 98], file[BIG as usize + 99], 0, 0])
    );
}

/// Some ELF file to start from.
fn sample() -> Vec<u8> {
    let path: PathBuf = fs::canonicalize("/bin/true").expect("there is one");
    fs::read(path).expect("it can be read")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// A truncated file, and one with any bytes of its headers changed, loads or is refused; what
    /// loads keeps every law, and none of its pages leads outside.
    #[test]
    fn no_file_makes_the_loader_panic(
        len in 0_usize..70_000,
        changes in prop::collection::vec((0_usize..1024, any::<u8>()), 0..12),
        page in prop::sample::select(vec![512_u64, 4096, 65536]),
    ) {
        let mut file = sample();
        file.truncate(len.max(1));
        for (at, byte) in changes {
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
        }
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("file"), &file).expect("a file");
        let mut machine = machine(directory.path(), |settings| settings.page_size = page);
        let before = machine.spaces().slots_reserved();
        match machine.exec(b"file") {
            Ok(image) => {
                for segment in image.segments {
                    if machine.current().is_some() {
                        let _ = machine.read(segment.addr, 1);
                        let _ = machine.current().map(|_| machine.read(segment.addr + segment.memory_size - 1, 1));
                    }
                }
            }
            Err(error) => {
                prop_assert!(!error.to_string().is_empty());
                prop_assert_eq!(machine.spaces().slots_reserved(), before);
            }
        }
        machine.check();
    }

    /// Any bytes at all.
    #[test]
    fn no_bytes_make_the_headers_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.extend(bytes);
        let _ = machine::Image::read(&file[..], file.len() as u64, PAGE);
    }
}
