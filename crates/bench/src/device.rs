//! What the disk gives: the bound of every figure.

use crate::numbers::{Random, number};
use crate::phase::phase;
use rustix::fs::{Mode, OFlags};
use std::fs;
use std::io::{Error, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;

const PAGE: usize = 4096;
const RUN: usize = 256 << 10;
const TOUCHES: usize = 20_000;

/// Memory that O_DIRECT can read into.
#[repr(align(4096))]
struct Aligned([u8; RUN]);

/// Measures writes of 256 KiB in order, two at a time, reads of 256 KiB in order, one at a
/// time and two, and of 4 KiB at random, one at a time and eight.
///
/// # Errors
/// What the file system says.
pub(crate) fn run(dir: &Path, mib: usize) -> Result<(), Error> {
    let path = dir.join(format!("outcore-device-{}", std::process::id()));
    let done = fill(&path, mib).and_then(|()| measure(&path, mib << 20));
    fs::remove_file(&path)?;
    done
}

fn fill(path: &Path, mib: usize) -> Result<(), Error> {
    let mut file = fs::File::create(path)?;
    for chunk in 0..mib as u64 {
        let words = (0..1 << 17).flat_map(|word| number(chunk << 17 | word).to_ne_bytes());
        file.write_all(&words.collect::<Vec<u8>>())?;
    }
    file.sync_all()
}

fn measure(path: &Path, len: usize) -> Result<(), Error> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::DIRECT, Mode::empty())?;
    phase("device, written in order, 2 at once", len, len / PAGE, || {
        thread::scope(|scope| {
            scope.spawn(|| write_in_order(&file, 0, len / 2));
            scope.spawn(|| write_in_order(&file, len / 2, len));
        });
    });
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECT, Mode::empty())?;
    phase("device, in order", len, len / PAGE, || in_order(&file, 0, len));
    phase("device, in order, 2 at once", len, len / PAGE, || {
        thread::scope(|scope| {
            scope.spawn(|| in_order(&file, 0, len / 2));
            scope.spawn(|| in_order(&file, len / 2, len));
        });
    });
    for (name, at_once) in [("device, at random", 1), ("device, at random, 8 at once", 8)] {
        let touches = TOUCHES * if at_once == 1 { 1 } else { 4 };
        phase(name, 0, touches, || {
            thread::scope(|scope| {
                for seed in 0..at_once {
                    let file = &file;
                    scope.spawn(move || at_random(file, len, touches / at_once as usize, seed));
                }
            });
        });
    }
    Ok(())
}

fn in_order(file: &OwnedFd, from: usize, to: usize) {
    let mut buffer = Box::new(Aligned([0; RUN]));
    for offset in (from..to).step_by(RUN) {
        let read = rustix::io::pread(file.as_fd(), &mut buffer.0[..], offset as u64);
        assert_eq!(read, Ok(RUN), "the disk cannot be read");
    }
}

fn write_in_order(file: &OwnedFd, from: usize, to: usize) {
    let mut buffer = Box::new(Aligned([0; RUN]));
    let mut random = Random::new(from as u64);
    buffer.0.fill_with(|| random.below(256) as u8);
    for offset in (from..to).step_by(RUN) {
        let written = rustix::io::pwrite(file.as_fd(), &buffer.0[..], offset as u64);
        assert_eq!(written, Ok(RUN), "the disk cannot be written");
    }
}

fn at_random(file: &OwnedFd, len: usize, touches: usize, seed: u64) {
    let mut buffer = Box::new(Aligned([0; RUN]));
    let mut random = Random::new(1000 + seed);
    for _ in 0..touches {
        let offset = random.below(len / PAGE) * PAGE;
        let read = rustix::io::pread(file.as_fd(), &mut buffer.0[..PAGE], offset as u64);
        assert_eq!(read, Ok(PAGE), "the disk cannot be read");
    }
}
