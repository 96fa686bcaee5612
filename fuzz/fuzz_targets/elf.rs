//! Any bytes as an ELF file: refused, or segments that lie within the file and share no page.

#![no_main]

use libfuzzer_sys::fuzz_target;
use machine::Image;
use pager::space::USER_END;

fuzz_target!(|bytes: &[u8]| {
    let len = bytes.len() as u64;
    for page_size in [512, 4096, 65536] {
        let Ok(image) = Image::read(bytes, len, page_size) else { continue };
        let mut before = 0;
        for segment in image.segments {
            let (first, after) = segment.pages(page_size);
            assert!(before <= first && first < after && after <= USER_END / page_size);
            assert!(segment.file_size <= segment.memory_size);
            assert!(segment.file_size == 0 || segment.offset + segment.file_size <= len);
            before = after;
        }
    }
});
