//! The power fails at every write of a save: what is there then is the old image, or the
//! new one.

use image::{Image, Medium, PAGE, Replacement, Writer};
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// What a save asked of the disk.
#[derive(Clone, Debug)]
enum Step {
    Write(u64, Vec<u8>),
    Sync,
    Rename,
    SyncDirectory,
}

/// Writes down what it is asked, and does it to bytes in memory.
#[derive(Clone, Default)]
struct Recorder {
    steps: Rc<RefCell<Vec<Step>>>,
    bytes: Rc<RefCell<Vec<u8>>>,
    /// A disk that lies: for the proof that these tests can fail.
    ignores_sync: bool,
}

fn put(bytes: &mut Vec<u8>, offset: u64, new: &[u8]) {
    let end = offset as usize + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset as usize..end].copy_from_slice(new);
}

impl Medium for Recorder {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        put(&mut self.bytes.borrow_mut(), offset, bytes);
        self.steps.borrow_mut().push(Step::Write(offset, bytes.to_vec()));
        Ok(())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let from = self.bytes.borrow();
        bytes.copy_from_slice(&from[offset as usize..offset as usize + bytes.len()]);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if !self.ignores_sync {
            self.steps.borrow_mut().push(Step::Sync);
        }
        Ok(())
    }

    fn publish(self) -> io::Result<()> {
        self.steps.borrow_mut().extend([Step::Rename, Step::SyncDirectory]);
        Ok(())
    }
}

const PAGES: u64 = 2000;

fn page_of(seed: u64, number: u64) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    let mut state = (seed << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for word in page.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    page
}

fn save(medium: impl Medium, seed: u64) {
    let mut writer = Writer::new(medium).unwrap();
    (0..PAGES).step_by(3).for_each(|number| writer.page(number, &page_of(seed, number)).unwrap());
    writer.finish(PAGES).unwrap();
}

/// What a disk may hold after the power failed: what was synced, and of what was written
/// since then whatever sectors `kept` says.
fn after(steps: &[Step], mut kept: impl FnMut() -> bool) -> Vec<u8> {
    const SECTOR: usize = 512;
    let synced = steps.iter().rposition(|step| matches!(step, Step::Sync)).unwrap_or(0);
    let mut bytes = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let Step::Write(offset, new) = step else { continue };
        for (sector, new) in new.chunks(SECTOR).enumerate() {
            if index < synced || kept() {
                put(&mut bytes, offset + (sector * SECTOR) as u64, new);
            }
        }
    }
    bytes
}

/// Whether the file is the whole image of `seed`.
fn is_image(path: &Path, seed: u64) -> bool {
    let Ok(image) = Image::open(path) else { return false };
    let mut bytes = [0; PAGE];
    (0..PAGES).all(|number| {
        let expected = if number % 3 == 0 { page_of(seed, number) } else { [0; PAGE] };
        image.read(number, &mut bytes).is_ok() && bytes == expected
    })
}

/// Cuts the power before every step of `steps`; how often neither image was there.
fn cut_everywhere(steps: &[Step]) -> usize {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    save(Replacement::of(&path).unwrap(), 1);
    assert!(is_image(&path, 1));
    let old = std::fs::read(&path).unwrap();
    let mut lost = 0;
    let mut random = 5u64;
    for done in 0..=steps.len() {
        let steps = &steps[..done];
        let renamed = steps.iter().any(|step| matches!(step, Step::Rename));
        let certain = steps.iter().any(|step| matches!(step, Step::SyncDirectory));
        // A rename that was not synced may have got through or not.
        for is_new in [false, true] {
            if (is_new && !renamed) || (!is_new && certain) {
                continue;
            }
            for share in [0, 2, 8] {
                let found = if is_new {
                    after(steps, || {
                        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        (random >> 33) % 8 < share
                    })
                } else {
                    old.clone()
                };
                std::fs::write(&path, found).unwrap();
                lost += usize::from(!is_image(&path, if is_new { 2 } else { 1 }));
            }
        }
    }
    lost
}

#[test]
fn the_old_image_or_the_new_one() {
    let recorder = Recorder::default();
    save(recorder.clone(), 2);
    let steps = recorder.steps.borrow();
    assert!(steps.len() > 5, "{} steps", steps.len());
    assert_eq!(cut_everywhere(&steps), 0);
}

#[test]
fn a_disk_that_lies_is_found_out() {
    let recorder = Recorder { ignores_sync: true, ..Recorder::default() };
    save(recorder.clone(), 2);
    assert!(cut_everywhere(&recorder.steps.borrow()) > 0);
}

/// Fails at one step.
struct Failing {
    left: usize,
    bytes: Vec<u8>,
}

impl Failing {
    fn step(&mut self) -> io::Result<()> {
        match self.left {
            0 => Err(io::Error::from_raw_os_error(28)),
            _ => {
                self.left -= 1;
                Ok(())
            }
        }
    }
}

impl Medium for Failing {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        put(&mut self.bytes, offset, bytes);
        Ok(())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        bytes.copy_from_slice(&self.bytes[offset as usize..offset as usize + bytes.len()]);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.step()
    }

    fn publish(mut self) -> io::Result<()> {
        self.step()
    }
}

#[test]
fn a_full_disk_is_told_at_every_step() {
    let attempt = |left| {
        let mut writer = Writer::new(Failing { left, bytes: Vec::new() }).unwrap();
        for number in 0..600 {
            writer.page(number, &page_of(1, number))?;
        }
        writer.finish(600)
    };
    let needed = (0..100).find(|left| attempt(*left).is_ok()).expect("it can be saved");
    assert!(needed > 4);
    for left in 0..needed {
        let error = attempt(left).expect_err("a step has failed");
        assert!(error.to_string().contains("No space left"), "{error}");
    }
}
