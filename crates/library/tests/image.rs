//! Arenas that are saved as images, and opened again.

#![expect(unsafe_code, reason = "writes to pages while they are saved")]

mod common;

use common::{BUDGET, Held, MIB, PAGE, Random, builder, heap, passes};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use outcore::{Arena, ArenaError, Heap, ImageOptions, SaveImageError};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir_in("/var/tmp").expect("a directory")
}

/// Pages that are untouched, zero, alike, and of their own.
fn contents(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = vec![0; len];
    for page in bytes.chunks_mut(PAGE) {
        match random.below(4) {
            0 => {}
            1 => page.fill(random.below(5) as u8),
            _ => page.chunks_exact_mut(8).for_each(|word| word.copy_from_slice(&random.next().to_le_bytes())),
        }
    }
    bytes
}

/// An arena with these bytes, of which zeros are not touched, as an image.
fn saved(heap: &Heap, bytes: &[u8], path: &Path) -> outcore::SavedImage {
    let arena = heap.arena(bytes.len()).expect("an arena");
    let mut pages = arena.alloc(bytes.len()).expect("pages");
    for (place, page) in pages.chunks_mut(PAGE).zip(bytes.chunks(PAGE)) {
        if page.iter().any(|byte| *byte != 0) {
            place.copy_from_slice(page);
        }
    }
    arena.save(path).expect("saved")
}

#[test]
fn what_is_saved_is_opened_and_changes_are_its_own() {
    let directory = directory();
    let path = directory.path().join("one.image");
    let heap = heap();
    let mut model = contents(4 * BUDGET, 1);
    let told = saved(&heap, &model, &path);
    let touched = model.chunks(PAGE).filter(|page| page.iter().any(|byte| *byte != 0)).count() as u64;
    assert_eq!((told.len, told.touched), (model.len() as u64, touched));
    assert!(told.stored < told.touched && told.bytes > told.stored * PAGE as u64, "{told:?}");

    let original = model.clone();
    let mut private = Arena::open(&heap, &path, ImageOptions::private()).expect("opened");
    let shared = heap.open_image(&path, ImageOptions::shared()).expect("opened");
    assert!(*private == *model && *shared == *model);
    let mut random = Random(2);
    for _ in 0..3000 {
        let start = random.below(model.len() - 16);
        let word = random.next().to_le_bytes();
        private.bytes_mut().expect("private")[start..start + 8].copy_from_slice(&word);
        model[start..start + 8].copy_from_slice(&word);
    }
    // Zeros where there was something, and a page that was untouched.
    private.bytes_mut().expect("private")[8 * PAGE..12 * PAGE].fill(0);
    model[8 * PAGE..12 * PAGE].fill(0);
    assert!(*private == *model && *shared == *original);
    assert!(heap.stats().swap_outs > 0);

    // Saved under another name, and under its own: what is open stays as it was.
    private.save(directory.path().join("other.image")).expect("saved");
    private.save(&path).expect("saved");
    assert!(*shared == *original && *private == *model);
    for name in ["one.image", "other.image"] {
        let again = heap.open_image(directory.path().join(name), ImageOptions::shared()).expect("opened");
        assert!(*again == *model, "{name}");
    }
    assert!(heap.open_image(&path, ImageOptions::shared()).expect("opened").bytes_mut().is_none());
}

#[test]
fn every_fallback_opens_images() {
    let directory = directory();
    let path = directory.path().join("one.image");
    let model = contents(2 * BUDGET, 5);
    saved(&heap(), &model, &path);
    let fallbacks = [
        outcore::Fallbacks { copy: true, ..Default::default() },
        outcore::Fallbacks { threads: true, ..Default::default() },
        outcore::Fallbacks { user_mode: true, ..Default::default() },
    ];
    for force in fallbacks {
        let heap = builder().fallbacks(force).build().expect("a heap");
        let mut private = heap.open_image(&path, ImageOptions::private()).expect("opened");
        let shared = heap.open_image(&path, ImageOptions::shared()).expect("opened");
        assert!(*private == *model && *shared == *model, "{force:?}");
        private.bytes_mut().expect("private").chunks_mut(PAGE).for_each(|page| page[7] ^= 0x55);
        for (found, page) in private.chunks(PAGE).zip(model.chunks(PAGE)) {
            assert!(found[7] == page[7] ^ 0x55 && found[8..] == page[8..], "{force:?}");
        }
        assert!(*shared == *model, "{force:?}");
    }
}

#[test]
fn opening_takes_no_longer_for_what_is_larger() {
    let directory = directory();
    let heap = heap();
    let mut took = [Duration::ZERO; 2];
    for (gib, took) in [1usize, 64].into_iter().zip(&mut took) {
        let path = directory.path().join(format!("{gib}.image"));
        let arena = heap.arena(gib << 30).expect("an arena");
        let mut pages = arena.alloc(gib << 30).expect("pages");
        pages[(gib << 30) - 5] = 7;
        let saved = arena.save(&path).expect("saved");
        assert!(saved.bytes < 40_000, "{saved:?}");
        let start = Instant::now();
        let image = heap.open_image(&path, ImageOptions::shared()).expect("opened");
        *took = start.elapsed();
        assert_eq!((image.len(), image[(gib << 30) - 5], image[12345]), (gib << 30, 7, 0));
    }
    println!("1 GiB: {:?}, 64 GiB: {:?}", took[0], took[1]);
    assert!(took[1] < Duration::from_millis(200), "{took:?}");
}

#[test]
fn nothing_is_left_of_an_image_that_was_closed() {
    passes("opens_and_closes");
}

#[test]
#[ignore = "counts threads and mappings: run by the test above"]
fn opens_and_closes() {
    let directory = directory();
    let path = directory.path().join("one.image");
    let heap = heap();
    let model = contents(MIB, 11);
    let open_all = || {
        let private = heap.open_image(&path, ImageOptions::private()).expect("opened");
        let shared = heap.open_image(&path, ImageOptions::shared()).expect("opened");
        assert!(*private == *model && *shared == *model);
    };
    saved(&heap, &model, &path);
    let alone = Held::settled();
    // The window of mapped files stays, and so do stacks that the C library keeps for the next threads.
    open_all();
    let settled = Held::with_threads(alone.threads);
    for _ in 0..20 {
        open_all();
    }
    let after = Held::with_threads(alone.threads);
    assert_eq!((after.threads, after.descriptors), (alone.threads, alone.descriptors));
    assert!(after.mappings < settled.mappings + 50, "{settled:?}, {after:?}");
}

#[test]
fn shared_openings_have_their_pages_once() {
    let directory = directory();
    let path = directory.path().join("one.image");
    let heap = heap();
    let model = contents(BUDGET / 2, 3);
    saved(&heap, &model, &path);
    let open = || heap.open_image(&path, ImageOptions::shared().without_working_set()).expect("opened");
    let images = [open(), open(), open()];
    assert!(images.iter().all(|image| **image == *model));
    let [first, ..] = &images;
    let usage = first.usage(..).expect("all");
    assert_eq!(usage.resident + usage.parked, (BUDGET / 2 / PAGE) as u64, "{usage:?}");
    let stats = heap.stats();
    assert_eq!(stats.file_reads, (BUDGET / 2 / PAGE) as u64, "{stats}");
    // The pages outlive the opening that brought them in.
    let [first, second, third] = images;
    drop(first);
    assert!(*second == *model);
    drop((second, third));
    assert!(*open() == *model);
}

/// Of two shared openings the first has all pages fetched, and knows which.
#[test]
fn shared_openings_record_what_was_used_once() {
    let directory = directory();
    let path = directory.path().join("one.image");
    let heap = heap();
    let mut model = contents(BUDGET / 2, 3);
    model.chunks_mut(PAGE).for_each(|page| page[0] |= 1);
    saved(&heap, &model, &path);
    let open = || heap.open_image(&path, ImageOptions::shared()).expect("opened");
    let (first, second) = (open(), open());
    assert!((0..50).all(|page| first[page * PAGE] == second[page * PAGE]));
    first.close().expect("recorded");
    second.close().expect("closed");
    let recorded = std::fs::metadata(format!("{}.pages", path.display())).expect("a file").len();
    assert!(recorded > 48, "a set without pages: {recorded} bytes");
    // A set without pages says as much as none.
    let third = heap.open_image(&path, ImageOptions::shared().record_working_set()).expect("opened");
    third.close().expect("closed");
    assert_eq!(std::fs::metadata(format!("{}.pages", path.display())).expect("a file").len(), recorded);
}

#[test]
fn the_pages_of_one_start_are_read_ahead_at_the_next() {
    let directory = directory();
    let path = directory.path().join("one.image");
    let heap = heap();
    let mut model = contents(8 * BUDGET, 4);
    model.chunks_mut(PAGE).for_each(|page| page[0] |= 1);
    saved(&heap, &model, &path);
    let used: Vec<usize> = (0..300).map(|n| n * 53 % (8 * BUDGET / PAGE)).collect();
    let first = heap.open_image(&path, ImageOptions::private()).expect("opened");
    assert!(used.iter().all(|page| first[page * PAGE] == model[page * PAGE]));
    first.close().expect("recorded");
    assert!(PathBuf::from(format!("{}.pages", path.display())).exists());

    let second = heap.open_image(&path, ImageOptions::private()).expect("opened");
    let in_memory = || {
        let of_page = |page: &usize| {
            let usage = second.usage(page * PAGE..page * PAGE + PAGE).expect("a page");
            usage.resident + usage.parked
        };
        used.iter().map(of_page).sum::<u64>()
    };
    let start = Instant::now();
    while in_memory() < 300 && start.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    assert_eq!(in_memory(), 300);
    let before = heap.stats().major_faults;
    assert!(used.iter().all(|page| second[page * PAGE] == model[page * PAGE]));
    assert_eq!(heap.stats().major_faults, before);
    drop(second);

    // Of another image it says nothing.
    saved(&heap, &model, &path);
    let other = heap.open_image(&path, ImageOptions::private()).expect("opened");
    let usage = other.usage(..).expect("all");
    assert_eq!(usage.resident + usage.parked, 0);
}

#[test]
fn what_is_written_meanwhile_is_in_the_image_or_not() {
    let directory = directory();
    let path = directory.path().join("one.image");
    let heap = heap();
    let arena = heap.arena(2 * BUDGET).expect("an arena");
    let pages = arena.alloc(2 * BUDGET).expect("pages");
    let words = 2 * BUDGET / 8;
    let start: *const AtomicU64 = core::ptr::with_exposed_provenance(pages.addr());
    // SAFETY: the pages are borrowed by nobody else, for as long as they are there.
    let place = unsafe { core::slice::from_raw_parts(start, words) };
    place.iter().for_each(|word| word.store(1, Ordering::Relaxed));
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut random = Random(9);
            while !done.load(Ordering::Relaxed) {
                place[random.below(words)].store(u64::MAX, Ordering::Relaxed);
            }
        });
        arena.save(&path).expect("saved");
        done.store(true, Ordering::Relaxed);
    });
    let image = heap.open_image(&path, ImageOptions::shared()).expect("opened");
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("8 bytes"));
    assert!(image.chunks_exact(8).map(word).all(|word| word == 1 || word == u64::MAX));
    assert!(image.chunks_exact(8).map(word).any(|word| word == 1));
}

#[test]
fn progress_ascends_to_the_end() {
    let directory = directory();
    let heap = heap();
    let arena = heap.arena(3 << 30).expect("an arena");
    let mut pages = arena.alloc(3 << 30).expect("pages");
    pages[..40 * MIB].fill(3);
    pages[2 << 30] = 1;
    let mut told = Vec::new();
    arena.save_with(directory.path().join("a.image"), |done, of| told.push((done, of))).expect("saved");
    assert!(told.len() > 4 && told.is_sorted() && told.last() == Some(&(3 << 30, 3 << 30)), "{told:?}");
}

#[test]
fn what_cannot_be_saved_or_opened_is_told() {
    let directory = directory();
    let path = directory.path().join("one.image");
    let heap = heap();
    let model = contents(MIB, 6);
    saved(&heap, &model, &path);
    let arena = heap.arena(MIB).expect("an arena");
    for bad in [directory.path().join("no/such/image"), directory.path().to_owned()] {
        let refused = arena.save(&bad);
        assert!(matches!(refused, Err(SaveImageError::Save(_))), "{refused:?}");
        let refused =
            heap.open_image(&bad, ImageOptions::shared()).map(|_| ()).map_err(|error| error.to_string());
        assert!(
            refused.as_ref().is_err_and(|text| text.starts_with(&bad.display().to_string())),
            "{refused:?}"
        );
    }
    let text = directory.path().join("text");
    std::fs::write(&text, "hello").expect("written");
    let refused =
        heap.open_image(&text, ImageOptions::shared()).map(|_| ()).map_err(|error| error.to_string());
    assert!(refused.as_ref().is_err_and(|text| text.contains("is not an image")), "{refused:?}");
    // At every length, it is refused when it is opened.
    let bytes = std::fs::read(&path).expect("the image");
    for len in (0..bytes.len()).step_by(509) {
        let cut = directory.path().join("cut");
        std::fs::write(&cut, &bytes[..len]).expect("written");
        assert!(heap.open_image(&cut, ImageOptions::private()).is_err(), "{len} bytes");
    }
    assert!(matches!(heap.arena(0), Err(ArenaError::Empty)));
}

/// A test of this binary that is ignored otherwise, which is given an image's path.
fn with_image(test: &str, path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("OUTCORE_TEST_IMAGE", path);
    command
}

/// Killed at any moment, a save leaves what was there before, or all of the new image.
#[test]
fn a_save_that_is_killed_leaves_an_image() {
    let directory = directory();
    let path = directory.path().join("one.image");
    let heap = heap();
    saved(&heap, &contents(2 * MIB, 20), &path);
    let mut command = with_image("saves_again_and_again", &path);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut random = Random(12);
    let mut found = [0; 2];
    for _ in 0..12 {
        let mut child = command.spawn().expect("the test runs");
        std::thread::sleep(Duration::from_millis(60 + random.below(120) as u64));
        child.kill().expect("it runs until it is killed");
        assert_eq!(child.wait().expect("killed").signal(), Some(libc::SIGKILL));
        let image = heap.open_image(&path, ImageOptions::shared().without_working_set()).expect("opened");
        let which = [20, 21].iter().position(|seed| *image == contents(2 * MIB, *seed));
        found[which.expect("the old one or the new one")] += 1;
    }
    println!("{} old, {} new", found[0], found[1]);
    let left = std::fs::read_dir(directory.path()).expect("a directory").count();
    assert!(left <= 13, "{left} files, where at most one may be left of each kill");
}

#[test]
#[ignore = "is killed: run by the test above"]
fn saves_again_and_again() {
    let path = PathBuf::from(std::env::var_os("OUTCORE_TEST_IMAGE").expect("a path"));
    let heap = heap();
    for seed in (20..22).cycle() {
        saved(&heap, &contents(2 * MIB, seed), &path);
    }
}

/// Any byte of the image changed: refused when it is opened, or right bytes, or SIGBUS and a
/// message. One of each block, in processes of their own; every byte is changed in crate `image`.
#[test]
fn damage_is_a_bus_error_with_a_message() {
    let directory = directory();
    let path = directory.path().join("one.image");
    let model = contents(16 * PAGE, 8);
    saved(&heap(), &model, &path);
    let good = std::fs::read(&path).expect("the image");
    let (mut refused, mut killed) = (0, 0);
    for block in 0..good.len() / PAGE {
        let mut bad = good.clone();
        bad[block * PAGE + 77] ^= 4;
        std::fs::write(&path, &bad).expect("written");
        let output = with_image("reads_a_damaged_image", &path).output().expect("the test runs");
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.signal() == Some(libc::SIGBUS) {
            killed += 1;
            let name = format!("of the image {} (from byte", path.display());
            assert!(said.contains(&name) && said.contains("is not what was written"), "{said}");
        } else {
            refused += 1;
            assert!(output.status.success() && said.contains("refused: "), "block {block}: {said}");
            assert!(said.contains("the image is damaged"), "{said}");
        }
    }
    assert!(refused == 1 && killed == good.len() / PAGE - 1, "{refused} refused, {killed} killed");
}

#[test]
#[ignore = "is killed: run by the test above"]
fn reads_a_damaged_image() {
    let path = PathBuf::from(std::env::var_os("OUTCORE_TEST_IMAGE").expect("a path"));
    let heap = heap();
    match heap.open_image(&path, ImageOptions::shared()) {
        Ok(image) => assert!(*image == contents(16 * PAGE, 8)),
        Err(error) => eprintln!("refused: {error}"),
    }
}
