//! A family's runs, by number.

use crate::family::run::Run;

/// Places in a chunk, from the one on that is this long: the first are 1, 2, 4 long, so
/// that a family of one page keeps little.
const CHUNK: usize = 64;
/// Chunks that are shorter, and the places in them.
const SHORT: usize = CHUNK.ilog2() as usize;
const IN_SHORT: usize = CHUNK - 1;

/// Places for runs, in chunks that never move and are never longer than needed by more
/// than one chunk: what a run takes is what its metadata cost.
#[derive(Debug, Default)]
pub(super) struct Runs {
    chunks: Vec<Box<[Option<Run>]>>,
    len: usize,
}

/// The chunk and the place in it.
fn place(number: usize) -> (usize, usize) {
    if number < IN_SHORT {
        let chunk = (number + 1).ilog2() as usize;
        return (chunk, number + 1 - (1 << chunk));
    }
    (SHORT + (number - IN_SHORT) / CHUNK, (number - IN_SHORT) % CHUNK)
}

impl Runs {
    /// Places that there are, with a run or without.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, number: u32) -> Option<&Run> {
        let (chunk, at) = place(number as usize);
        self.chunks.get(chunk)?.get(at)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Run> {
        let (chunk, at) = place(number as usize);
        self.chunks.get_mut(chunk)?.get_mut(at)?.as_mut()
    }

    /// Adds a place without a run; its number.
    pub(super) fn add_place(&mut self) -> u32 {
        let (chunk, _) = place(self.len);
        if chunk == self.chunks.len() {
            let places = if chunk < SHORT { 1 << chunk } else { CHUNK };
            self.chunks.push((0..places).map(|_| None).collect());
        }
        self.len += 1;
        (self.len - 1) as u32
    }

    /// Puts a run into a place that has none.
    pub(super) fn put(&mut self, number: u32, run: Run) {
        debug_assert!(self.get(number).is_none() && (number as usize) < self.len);
        let (chunk, at) = place(number as usize);
        self.chunks[chunk][at] = Some(run);
    }

    /// Takes the run out of a place.
    pub(super) fn take(&mut self, number: u32) -> Option<Run> {
        let (chunk, at) = place(number as usize);
        self.chunks.get_mut(chunk)?.get_mut(at)?.take()
    }

    /// The runs and their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Run)> {
        let places = self.chunks.iter().flat_map(|chunk| chunk.iter()).zip(0..);
        places.filter_map(|(run, number)| Some((number, run.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_each_other() {
        let mut expected = (0, 0);
        for number in 0..10_000 {
            assert_eq!(place(number), expected, "number {number}");
            let len = if expected.0 < SHORT { 1 << expected.0 } else { CHUNK };
            expected = if expected.1 + 1 == len { (expected.0 + 1, 0) } else { (expected.0, expected.1 + 1) };
        }
        assert_eq!(size_of::<Option<Run>>(), 56, "what families cost is what this takes");
    }
}
