//! Which pages of an image were used, so that the next start can read them ahead.
//!
//! They are kept in a file beside the image, which names the image by its identity: of
//! another one it says nothing. Losing it costs time and no data, so it is replaced
//! without waiting for the disk.

use crate::digest::unkeyed;
use crate::medium::{Medium, Replacement};
use crate::node::Bytes;
use std::io;
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"OUTCPGS\n";
/// Magic, identity, number of runs.
const HEAD: usize = 8 + 16 + 8;
const RUN: usize = 16;
/// The most runs that are kept: 1 MiB of them.
const MOST_RUNS: usize = 1 << 16;

/// Pages of an image, as ascending runs that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkingSet {
    runs: Vec<(u64, u64)>,
}

impl WorkingSet {
    /// The set of these pages, in any order. Where they lie in more than 65 536 pieces,
    /// pieces that lie close together are joined.
    pub fn of(pages: impl IntoIterator<Item = u64>) -> Self {
        let mut pages: Vec<u64> = pages.into_iter().collect();
        pages.sort_unstable();
        let mut gap = 0;
        loop {
            let runs = join(&pages, gap);
            if runs.len() <= MOST_RUNS {
                return Self { runs };
            }
            gap = 2 * gap + 1;
        }
    }

    /// Its runs, as the first page and how many.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.runs.iter().copied()
    }

    /// How many pages it has.
    pub fn pages(&self) -> u64 {
        self.runs.iter().map(|(_, count)| count).sum()
    }

    /// The name of the file beside the image at `path`.
    pub fn beside(path: &Path) -> PathBuf {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".pages");
        path.with_file_name(name)
    }

    /// Writes it beside the image at `path` that has this `identity`.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self, path: &Path, identity: u128) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEAD + self.runs.len() * RUN + 16);
        bytes.extend(MAGIC);
        bytes.extend(identity.to_le_bytes());
        bytes.extend((self.runs.len() as u64).to_le_bytes());
        for (first, count) in &self.runs {
            bytes.extend(first.to_le_bytes());
            bytes.extend(count.to_le_bytes());
        }
        bytes.extend(unkeyed(&bytes).0.to_le_bytes());
        let beside = Self::beside(path);
        let mut file = Replacement::of(&beside)?;
        if !beside.exists() {
            // Whoever may read the image may know of it.
            file.inherit(std::fs::metadata(path).ok().as_ref())?;
        }
        file.write(0, &bytes)?;
        file.show()
    }

    /// Reads what is beside the image at `path`: none if there is nothing, or nothing
    /// sound, or it is another image's, or of pages past `pages`.
    pub fn load(path: &Path, identity: u128, pages: u64) -> Option<Self> {
        Self::decode(&std::fs::read(Self::beside(path)).ok()?, identity, pages)
    }

    fn decode(bytes: &[u8], identity: u128, pages: u64) -> Option<Self> {
        let (covered, digest) = bytes.split_last_chunk::<16>()?;
        if covered.len() < HEAD
            || !covered.starts_with(&MAGIC)
            || unkeyed(covered).0 != u128::from_le_bytes(*digest)
        {
            return None;
        }
        let mut numbers = Bytes::of(&covered[MAGIC.len()..]);
        if numbers.u128() != identity || numbers.u64() != ((covered.len() - HEAD) / RUN) as u64 {
            return None;
        }
        let runs: Vec<_> =
            (0..(covered.len() - HEAD) / RUN).map(|_| (numbers.u64(), numbers.u64())).collect();
        let ends = runs.iter().map(|(first, count)| first.checked_add(*count));
        let ordered = runs.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let sound = ordered && ends.into_iter().all(|end| end.is_some_and(|end| end <= pages));
        sound.then_some(Self { runs })
    }
}

/// Runs of ascending pages; those with at most `gap` pages between them are one.
fn join(pages: &[u64], gap: u64) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for page in pages.iter().copied() {
        match runs.last_mut() {
            Some((first, count)) if page <= *first + *count + gap => *count = (page - *first + 1).max(*count),
            _ => runs.push((page, 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_ascend_and_do_not_touch() {
        let set = WorkingSet::of([7, 3, 4, 9, 4, 8, 20]);
        assert_eq!(set.runs().collect::<Vec<_>>(), [(3, 2), (7, 3), (20, 1)]);
        assert_eq!(set.pages(), 6);
        let scattered = WorkingSet::of((0..200_000).map(|page| 3 * page));
        assert!(scattered.runs().count() <= MOST_RUNS);
        let covered: Vec<_> = scattered.runs().flat_map(|(first, count)| first..first + count).collect();
        assert!((0..200_000).all(|page| covered.binary_search(&(3 * page)).is_ok()));
    }

    #[test]
    fn what_is_not_sound_or_anothers_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.image");
        assert_eq!(WorkingSet::load(&path, 5, 100), None);
        let set = WorkingSet::of([1, 2, 50]);
        set.save(&path, 5).unwrap();
        assert_eq!(WorkingSet::load(&path, 5, 100), Some(set.clone()));
        assert_eq!(WorkingSet::load(&path, 6, 100), None);
        assert_eq!(WorkingSet::load(&path, 5, 50), None);
        let good = std::fs::read(WorkingSet::beside(&path)).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(WorkingSet::decode(&bad, 5, 100), None, "byte {at}");
            assert_eq!(WorkingSet::decode(&good[..at], 5, 100), None, "{at} bytes");
        }
    }
}
