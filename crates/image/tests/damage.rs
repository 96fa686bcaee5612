//! An image that is damaged gives right bytes or an error, never others.

use image::{Image, ImageError, PAGE, Replacement, Writer};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const PAGES: u64 = 200;
const TOUCHED: [u64; 5] = [0, 3, 127, 128, 199];

fn page_of(number: u64) -> [u8; PAGE] {
    // The last is the first again.
    let number = number % 199;
    let mut page = [0; PAGE];
    if TOUCHED.contains(&number) {
        page.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at as u64 * 31 + number) as u8);
    }
    page
}

fn small(directory: &Path) -> PathBuf {
    let path = directory.join("image");
    let mut writer = Writer::new(Replacement::of(&path).unwrap()).unwrap();
    TOUCHED.iter().for_each(|number| writer.page(*number, &page_of(*number)).unwrap());
    writer.finish(PAGES).unwrap();
    path
}

/// Reads everything; how much could not be had.
fn read_all(path: &Path, what: &str) -> usize {
    let image = match Image::open(path) {
        Ok(image) => image,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return PAGES as usize;
        }
    };
    assert_eq!(image.pages(), PAGES, "{what}");
    let mut bytes = [0; PAGE];
    let mut lost = 0;
    for number in 0..PAGES {
        match image.read(number, &mut bytes) {
            Ok(()) => assert!(bytes == page_of(number), "{what}: page {number} is wrong"),
            Err(ImageError::Corrupt { .. }) => lost += 1,
            Err(error) => panic!("{what}: {error}"),
        }
    }
    let mut told = 0;
    let survey = image.survey(true, &mut |_| {}, &mut |damage| told += damage.count).unwrap();
    assert_eq!(told, lost as u64, "{what}");
    assert_eq!(survey.damaged > 0, lost > 0, "{what}");
    lost
}

#[test]
fn every_byte_flipped() {
    let directory = tempfile::tempdir().unwrap();
    let path = small(directory.path());
    let good = std::fs::read(&path).unwrap();
    assert_eq!(good.len(), PAGE * (1 + 4 + 2 + 1), "header, pages, leaves, root");
    assert_eq!(read_all(&path, "as it is"), 0);
    let bad_path = directory.path().join("bad");
    std::fs::write(&bad_path, &good).unwrap();
    let bad = std::fs::OpenOptions::new().write(true).open(&bad_path).unwrap();
    for (at, byte) in good.iter().enumerate() {
        bad.write_all_at(&[byte ^ 1 << (at % 8)], at as u64).unwrap();
        assert!(read_all(&bad_path, &format!("byte {at}")) > 0, "byte {at} is of no block");
        bad.write_all_at(&[*byte], at as u64).unwrap();
    }
    assert_eq!(read_all(&bad_path, "as it was"), 0);
}

#[test]
fn truncated_at_every_length() {
    let directory = tempfile::tempdir().unwrap();
    let path = small(directory.path());
    let good = std::fs::read(&path).unwrap();
    let bad = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for length in (0..good.len()).rev() {
        bad.set_len(length as u64).unwrap();
        let error = Image::open(&path).expect_err("it is cut short");
        assert!(
            matches!(error, ImageError::Truncated { .. })
                || (length < 8 && matches!(error, ImageError::NotAnImage)),
            "{length}: {error}"
        );
    }
    assert!(
        Image::open(&directory.path().join("none")).is_err_and(|error| matches!(error, ImageError::Io(_)))
    );
}

#[test]
fn cut_short_while_it_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = small(directory.path());
    let image = Image::open(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(PAGE as u64).unwrap();
    let mut bytes = [0; PAGE];
    assert!(matches!(image.read(3, &mut bytes), Err(ImageError::Corrupt { .. })));
}

#[test]
fn more_behind_it_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let path = small(directory.path());
    let mut longer = std::fs::read(&path).unwrap();
    longer.extend([5; 5000]);
    std::fs::write(&path, longer).unwrap();
    assert_eq!(read_all(&path, "longer"), 0);
}

#[test]
fn other_files_and_other_versions() {
    let directory = tempfile::tempdir().unwrap();
    let path = small(directory.path());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 2;
    std::fs::write(&path, &bytes).unwrap();
    let error = Image::open(&path).unwrap_err();
    assert!(matches!(error, ImageError::Version { found: 2 }), "{error}");
    bytes[0] = b'X';
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(Image::open(&path), Err(ImageError::NotAnImage)));
    assert!(matches!(Image::open(directory.path()), Err(ImageError::Io(_))));
}
