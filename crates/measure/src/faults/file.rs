//! A mapped file that is larger than the memory that it has.

use super::calls::load;
use super::{Extent, Figures, InOrder, Kind, Measured, missing, scattered};
use engine::{Access, FileMap, FileSpec, Instance, PAGE, Pattern, Settings, StorePlace};
use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

/// No fault takes less, and nothing else takes so long.
const FAULT_NS: u64 = 1500;
/// The store has nothing to keep: nothing is written to the map.
const STORE_BYTES: u64 = 64 << 20;

/// The kinds that are measured here.
pub const KINDS: [Kind; 3] = [Kind::File, Kind::FileAhead, Kind::FileAheadPage];

/// Measures in this process, with a pager that has `ram_bytes` and its store in `dir`.
///
/// # Errors
/// There is no pager, or the file cannot be mapped.
pub fn measure(
    extent: Extent,
    file: &File,
    ram_bytes: u64,
    dir: &Path,
    tell: &mut dyn FnMut(Kind, Measured),
) -> Result<(), Box<dyn Error>> {
    let mut found = |kind, nanoseconds: Vec<u64>| {
        tell(kind, Figures::of(nanoseconds).ok_or_else(|| missing("page of the file")));
    };
    let settings = Settings::for_areas(ram_bytes, StorePlace::Directory(dir.into()), STORE_BYTES);
    // Nothing that its threads allocate is paged.
    let pager = Instance::start(settings, || {})?;
    let len = file.metadata()?.len() as usize / PAGE * PAGE;
    let map = |pattern| {
        let spec = FileSpec { file: file.as_fd(), access: Access::ReadOnly, offset: 0, len };
        let map = pager.map_file(spec)?;
        pager.use_file(&map, map.addr(), len, pattern);
        Ok::<FileMap, Box<dyn Error>>(map)
    };
    let scattered_map = map(Pattern::Random)?;
    // Each page once, and so none that is in memory.
    let order = scattered(len / PAGE, extent.samples, 3);
    found(Kind::File, order.into_iter().map(|page| touch(&scattered_map, page)).collect());
    pager.unmap_file(scattered_map)?;

    let scanned = map(Pattern::Sequential)?;
    let in_order = InOrder::touch(len / PAGE, |page| {
        let took = touch(&scanned, page);
        (took, took > FAULT_NS)
    });
    found(Kind::FileAhead, in_order.faults);
    found(Kind::FileAheadPage, in_order.a_page);
    pager.unmap_file(scanned)?;
    Ok(())
}

/// Reads a byte of a page; how many nanoseconds it took.
fn touch(map: &FileMap, page: usize) -> u64 {
    let start = Instant::now();
    load(map, page);
    start.elapsed().as_nanos() as u64
}
