//! Any bytes as an image: they are read or refused, never worse; and whatever is read of a real image in which
//! bytes were changed is right, or refused.

#![no_main]

use image::{Image, Medium, PAGE, Writer};
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::OnceLock;

const PAGES: u64 = 300;

#[derive(Clone, Default)]
struct Bytes(Rc<RefCell<Vec<u8>>>);

impl Medium for Bytes {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut all = self.0.borrow_mut();
        let end = offset as usize + bytes.len();
        let len = all.len().max(end);
        all.resize(len, 0);
        all[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        bytes.copy_from_slice(&self.0.borrow()[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn publish(self) -> io::Result<()> {
        Ok(())
    }
}

fn page_of(number: u64) -> [u8; PAGE] {
    [if number % 7 == 0 { number as u8 } else { 0 }; PAGE]
}

fn good() -> &'static [u8] {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let bytes = Bytes::default();
        let mut writer = Writer::new(bytes.clone()).expect("a key");
        (0..PAGES).for_each(|number| writer.page(number, &page_of(number)).expect("a page"));
        writer.finish(PAGES).expect("an image");
        bytes.0.take()
    })
}

fn image_of(bytes: &[u8]) -> Option<Image> {
    let mut file: File = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("bytes");
    Image::of(file).ok()
}

fuzz_target!(|bytes: &[u8]| {
    let mut page = [0; PAGE];
    if let Some(image) = image_of(bytes) {
        (0..image.pages().min(1000)).for_each(|number| drop(image.read(number, &mut page)));
    }
    let mut changed = good().to_vec();
    for change in bytes.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) * 3 % changed.len();
        changed[at] = changed[at].wrapping_add(change[2]);
    }
    let Some(image) = image_of(&changed) else { return };
    for number in 0..PAGES {
        if image.read(number, &mut page).is_ok() {
            assert!(page == page_of(number), "page {number} is wrong");
        }
    }
    let _ = image.file().read_at(&mut page, 0);
});
