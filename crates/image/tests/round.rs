//! What is saved is what is read, and takes the room that it should.

use image::{Image, ImageError, PAGE, Replacement, SaveError, Saved, Survey, Writer};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

/// A page that is told from others by its kind; 0 is zeros.
fn page_of(kind: u8) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    if kind > 0 {
        page.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at as u8).wrapping_mul(kind) ^ kind);
    }
    page
}

fn save(path: &Path, pages: u64, kinds: &BTreeMap<u64, u8>) -> Saved {
    let mut writer = Writer::new(Replacement::of(path).unwrap()).unwrap();
    kinds.iter().for_each(|(number, kind)| writer.page(*number, &page_of(*kind)).unwrap());
    writer.finish(pages).unwrap()
}

fn check(image: &Image, kinds: &BTreeMap<u64, u8>, pages: u64) {
    let mut bytes = [1; PAGE];
    for number in kinds.keys().flat_map(|page| page.saturating_sub(1)..=(page + 1).min(pages - 1)) {
        image.read(number, &mut bytes).unwrap();
        assert!(bytes == page_of(kinds.get(&number).copied().unwrap_or(0)), "page {number}");
    }
}

proptest! {
    #[test]
    fn what_is_saved_is_what_is_read(
        kinds in prop::collection::btree_map(prop_oneof![0u64..500, 0u64..3_000_000, (0u64..8).prop_map(|n| n * 16_384)], 0u8..6, 0..200),
        more in 0u64..1000,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let pages = kinds.last_key_value().map_or(0, |(last, _)| last + 1) + more;
        let saved = save(&path, pages, &kinds);
        let touched = kinds.values().filter(|kind| **kind > 0).count() as u64;
        let mut distinct: Vec<u8> = kinds.values().copied().filter(|kind| *kind > 0).collect();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!((saved.pages, saved.touched, saved.stored), (pages, touched, distinct.len() as u64));
        let image = Image::open(&path).unwrap();
        prop_assert_eq!((image.pages(), image.bytes()), (pages, saved.bytes));
        prop_assert_eq!(std::fs::metadata(&path).unwrap().len(), saved.bytes);
        if pages > 0 {
            check(&image, &kinds, pages);
        }
        let mut seen = 0;
        let found = image.survey(true, &mut |now| seen = now, &mut |damage| panic!("{damage:?}")).unwrap();
        prop_assert_eq!(seen, pages);
        let expected = Survey { touched, stored: saved.stored, nodes: found.nodes, damaged: 0 };
        prop_assert_eq!(found, expected);
        prop_assert_eq!(saved.bytes / PAGE as u64, 1 + found.stored + found.nodes);
    }

    #[test]
    fn a_run_is_its_pages(
        kinds in prop::collection::btree_map(0u64..300, 0u8..4, 0..300),
        first in 0u64..300,
        count in 0u64..300,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        save(&path, 300, &kinds);
        let image = Image::open(&path).unwrap();
        let mut bytes = vec![7; count as usize * PAGE];
        let read = image.read_run(first, &mut bytes);
        if first + count > 300 {
            let past_the_end = matches!(read, Err(ImageError::OutOfRange { page: 300, pages: 300 }));
            prop_assert!(past_the_end);
        } else {
            read.unwrap();
            for (page, bytes) in (first..).zip(bytes.chunks(PAGE)) {
                prop_assert!(bytes == page_of(kinds.get(&page).copied().unwrap_or(0)), "page {}", page);
            }
        }
    }
}

#[test]
fn many_pages_are_found_again_after_their_buffers_have_been_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let mut writer = Writer::new(Replacement::of(&path).unwrap()).unwrap();
    let page_of = |number: u64| {
        let mut page = [0; PAGE];
        let which = number % 1000;
        page.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&(which + 1).to_le_bytes()));
        page
    };
    // Far apart, so that every level of the tree has several nodes.
    let number_of = |index: u64| index * index * 3;
    (0..3000).for_each(|index| writer.page(number_of(index), &page_of(index)).unwrap());
    let saved = writer.finish(number_of(3000)).unwrap();
    assert_eq!((saved.touched, saved.stored), (3000, 1000));
    let image = Image::open(&path).unwrap();
    let mut bytes = [0; PAGE];
    for index in (0..3000).rev() {
        image.read(number_of(index), &mut bytes).unwrap();
        assert!(bytes == page_of(index), "page {}", number_of(index));
        image.read(number_of(index) + 1, &mut bytes).unwrap();
        assert!(index == 0 || bytes == [0; PAGE]);
    }
}

#[test]
fn pages_come_in_order_and_fit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let mut writer = Writer::new(Replacement::of(&path).unwrap()).unwrap();
    writer.page(3, &page_of(1)).unwrap();
    assert!(matches!(writer.page(3, &page_of(1)), Err(SaveError::Order { page: 3, before: 3 })));
    assert!(matches!(writer.page(2, &page_of(1)), Err(SaveError::Order { page: 2, before: 3 })));
    assert!(matches!(writer.page(u64::MAX - 1, &page_of(1)), Err(SaveError::Pages { .. })));
    assert!(matches!(writer.finish(3), Err(SaveError::Pages { pages: 3 })));
    assert!(!path.exists());
    let writer = Writer::new(Replacement::of(&path).unwrap()).unwrap();
    assert!(matches!(writer.finish(u64::MAX), Err(SaveError::Pages { .. })));
}

#[test]
fn a_save_replaces_as_a_whole_and_keeps_who_may_read() {
    let directory = tempfile::tempdir().unwrap();
    let (path, link) = (directory.path().join("image"), directory.path().join("link"));
    let names = || {
        let mut names: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let (one, other) = (BTreeMap::from([(1, 1)]), BTreeMap::from([(1, 2), (5, 3)]));
    save(&path, 10, &one);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&path, &link).unwrap();

    let before = Image::open(&path).unwrap();
    let mut writer = Writer::new(Replacement::of(&link).unwrap()).unwrap();
    writer.page(1, &page_of(9)).unwrap();
    assert_eq!(names(), ["image", "link"], "nothing is seen of it before it is finished");
    drop(writer);
    check(&Image::open(&path).unwrap(), &one, 10);

    save(&link, 10, &other);
    assert_eq!(names(), ["image", "link"]);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    check(&Image::open(&path).unwrap(), &other, 10);
    check(&before, &one, 10);
    assert_ne!(before.identity(), Image::open(&path).unwrap().identity());

    // Another's group keeps its rights as long as it is the same group's file.
    let give_away = |group| std::os::unix::fs::chown(&path, None, Some(group));
    if give_away(4321).is_ok() {
        save(&link, 10, &one);
        let about = std::fs::metadata(&path).unwrap();
        assert_eq!((about.gid(), about.mode() & 0o777), (4321, 0o640));
    }

    assert!(Replacement::of(directory.path()).is_err());
    assert!(Replacement::of(&directory.path().join("none/image")).is_err());
    assert!(Replacement::of(Path::new("/")).is_err());
}
