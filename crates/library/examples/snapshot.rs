//! An arena saved as an image, opened again in a fraction of the time that reading it takes.
//!
//! ```text
//! cargo run --release -p outcore-library --example snapshot -- --size 4G --budget 256M
//! ```

mod common;

use common::{PAGE, Random, arguments, heap, mixed};
use outcore::{ArenaImage, Heap, ImageOptions};
use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a page begins with.
fn word(page: u64) -> [u8; 8] {
    mixed(page + 1).to_le_bytes()
}

fn fill(heap: &Heap, size: u64, path: &Path) -> outcore::SavedImage {
    let arena = heap.arena(size as usize).unwrap_or_else(|error| panic!("{error}"));
    let mut pages = arena.alloc(size as usize).unwrap_or_else(|error| panic!("{error}"));
    for (number, page) in (0..).zip(pages.chunks_mut(PAGE as usize)) {
        for (place, word) in (0..).zip(page.chunks_exact_mut(8)) {
            word.copy_from_slice(&mixed(number * 512 + place + 1).to_le_bytes());
        }
        page[..8].copy_from_slice(&word(number));
    }
    arena.save(path).unwrap_or_else(|error| panic!("{error}"))
}

/// The kernel forgets what it has read of the image.
fn forget(path: &Path) {
    let file = File::open(path).expect("the image");
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice is taken");
}

fn open(heap: &Heap, path: &Path, options: ImageOptions) -> ArenaImage {
    heap.open_image(path, options).unwrap_or_else(|error| panic!("{error}"))
}

/// Opens the image and touches these pages; how long opening and all of it took.
fn start(heap: &Heap, path: &Path, options: ImageOptions, used: &[u64]) -> (Duration, Duration) {
    forget(path);
    let begun = Instant::now();
    let image = open(heap, path, options);
    let opened = begun.elapsed();
    for page in used {
        assert_eq!(image[(page * PAGE) as usize..][..8], word(*page));
    }
    let all = begun.elapsed();
    drop(image);
    (opened, all)
}

fn main() {
    let [size, budget] = arguments([("size", 64 << 20), ("budget", 8 << 20)]);
    let directory = tempfile::tempdir_in("/var/tmp").expect("a directory");
    let path = directory.path().join("snapshot.image");
    let heap = heap(budget);
    let begun = Instant::now();
    let saved = fill(&heap, size, &path);
    println!(
        "made and saved in {:.1?}: {} pages, {} of them stored, {} MiB",
        begun.elapsed(),
        saved.touched,
        saved.stored,
        saved.bytes >> 20
    );

    forget(&path);
    let begun = Instant::now();
    let image = open(&heap, &path, ImageOptions::private().without_working_set());
    black_box(image.chunks(PAGE as usize).map(|page| u64::from(page[9])).sum::<u64>());
    let whole = begun.elapsed();
    drop(image);

    let mut random = Random(1);
    let used: Vec<u64> = (0..size / PAGE / 100).map(|_| random.below(size / PAGE)).collect();
    let (opened, first) = start(&heap, &path, ImageOptions::private(), &used);
    let (_, second) = start(&heap, &path, ImageOptions::private(), &used);
    let region: Vec<u64> = (0..size / PAGE / 100).map(|page| size / PAGE / 3 + page).collect();
    let (_, in_order) = start(&heap, &path, ImageOptions::private().without_working_set(), &region);
    println!("reading all of it:              {whole:.1?}");
    println!("opening it:                     {opened:.1?}");
    println!("opening and 1 % in order:       {in_order:.1?}");
    println!("opening and 1 % at random:      {first:.1?}");
    println!("the same, recorded before:      {second:.1?}");
    println!("every page that was looked at is what was saved");
}
