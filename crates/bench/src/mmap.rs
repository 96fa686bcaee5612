#![expect(unsafe_code, reason = "maps the file that is measured")]
//! A file that is larger than memory, mapped by the kernel or by Outcore: one kind of use a
//! run, so that each begins with nothing in memory.

use crate::memory::WORDS;
use crate::numbers::{Random, number};
use crate::phase::phase;
use clap::{Args, ValueEnum};
use outcore::{FileAdvice, Heap, MapOptions, MappedFile};
use std::fs::File;
use std::io::{BufWriter, Error, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::ptr;
use std::thread;

#[derive(Args)]
pub(crate) struct Options {
    /// The file, which is made if there is none
    #[arg(long)]
    file: PathBuf,
    /// Its MiB
    #[arg(long)]
    mib: usize,
    /// MiB of RAM for Outcore; without it the kernel maps the file
    #[arg(long)]
    budget: Option<u64>,
    /// What is done with it; nothing but making it if none is given
    #[arg(long)]
    only: Option<Use>,
    /// What the kernel or Outcore is told about the use; as fits it if none is given
    #[arg(long)]
    hint: Option<Hint>,
    /// Random reads of each thread
    #[arg(long, default_value_t = 2_000)]
    touches: usize,
}

/// What is done with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Use {
    /// Read it in order
    Read,
    /// Change every page in order, and have it on the disk
    Write,
    /// Read pages at random from 16 threads
    Random,
    /// Look numbers up in it, which are in order, from 16 threads
    Lookup,
    /// Sort its words, and have it on the disk
    Sort,
    /// Go through it as a graph, breadth first
    Bfs,
}

const THREADS: usize = 16;
/// Edges of each node of the graph.
const DEGREE: usize = 32;

/// What both kinds of maps can do.
enum Map {
    Kernel { start: *mut u64, len: usize },
    Outcore { map: MappedFile, _heap: Heap },
}

/// How pages will be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Hint {
    /// Nothing is told
    None,
    /// In order
    Sequential,
    /// At random
    Random,
}

impl Map {
    fn new(
        file: &File,
        len: usize,
        budget: Option<u64>,
        changes: bool,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        if let Some(mib) = budget {
            let heap = Heap::builder().budget(mib << 20).build()?;
            let options = if changes { MapOptions::shared() } else { MapOptions::read_only() };
            let map = heap.map_file(file, options.len(len))?;
            return Ok(Self::Outcore { map, _heap: heap });
        }
        let rights = if changes { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), len, rights, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(Error::last_os_error().into());
        }
        Ok(Self::Kernel { start: start.cast(), len })
    }

    /// What is only read.
    fn all(&self) -> &[u64] {
        let (start, len): (*const u64, usize) = match self {
            Self::Kernel { start, len } => (start.cast_const(), *len),
            Self::Outcore { map, .. } => (map.as_ptr().cast(), map.len()),
        };
        // SAFETY: as long as the map, aligned to pages, and nobody else's.
        unsafe { std::slice::from_raw_parts(start, len / 8) }
    }

    fn words(&mut self) -> &mut [u64] {
        match self {
            // SAFETY: mapped for the rest of the program's life, and nobody else's.
            Self::Kernel { start, len } => unsafe { std::slice::from_raw_parts_mut(*start, *len / 8) },
            Self::Outcore { map, .. } => {
                let start: *mut u64 = map.as_mut_ptr().cast();
                // SAFETY: as long as the map, aligned to pages, and nobody else's.
                unsafe { std::slice::from_raw_parts_mut(start, map.len() / 8) }
            }
        }
    }

    fn advise(&self, hint: Hint) -> Result<(), Box<dyn std::error::Error>> {
        match self {
            Self::Kernel { start, len } => {
                let advice = match hint {
                    Hint::None => libc::MADV_NORMAL,
                    Hint::Sequential => libc::MADV_SEQUENTIAL,
                    Hint::Random => libc::MADV_RANDOM,
                };
                // SAFETY: the bytes stay what they are.
                match unsafe { libc::madvise(start.cast(), *len, advice) } {
                    0 => Ok(()),
                    _ => Err(Error::last_os_error().into()),
                }
            }
            Self::Outcore { map, .. } => {
                let advice = match hint {
                    Hint::None => FileAdvice::Normal,
                    Hint::Sequential => FileAdvice::Sequential,
                    Hint::Random => FileAdvice::Random,
                };
                Ok(map.advise(.., advice)?)
            }
        }
    }

    fn flush(&self) -> Result<(), Box<dyn std::error::Error>> {
        match self {
            // SAFETY: the bytes stay what they are.
            Self::Kernel { start, len } => match unsafe { libc::msync(start.cast(), *len, libc::MS_SYNC) } {
                0 => Ok(()),
                _ => Err(Error::last_os_error().into()),
            },
            Self::Outcore { map, .. } => Ok(map.flush(..)?),
        }
    }
}

/// Does what was asked for.
///
/// # Errors
/// The file cannot be made or mapped.
///
/// # Panics
/// If the file is not what it should be: then nothing that was measured counts.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    measured(options).map_err(|error| Error::other(error.to_string()))
}

fn measured(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let len = options.mib << 20;
    let Some(kind) = options.only else { return Ok(()) };
    // Each use has the bytes that it needs, made anew where it changes them.
    make(options, kind)?;
    let file = File::options().read(true).write(true).open(&options.file)?;
    // SAFETY: what is clean leaves the page cache, no more.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
    let changes = matches!(kind, Use::Write | Use::Sort);
    let mut map = Map::new(&file, len, options.budget, changes)?;
    let (words, pages) = (len / 8, len / 8 / WORDS);
    match kind {
        Use::Read => {
            map.advise(options.hint.unwrap_or(Hint::Sequential))?;
            let mut sum = 0u64;
            phase("read", len, pages, || sum = map.all().iter().fold(0, |sum, word| sum.wrapping_add(*word)));
            let wanted = (0..words as u64).fold(0u64, |sum, index| sum.wrapping_add(number(index)));
            assert_eq!(sum, wanted, "what was read is not what was written");
        }
        Use::Write => {
            map.advise(options.hint.unwrap_or(Hint::Sequential))?;
            let mut done = Ok(());
            phase("write", len, pages, || {
                for page in map.words().chunks_mut(WORDS) {
                    page[7] ^= 1;
                }
                done = map.flush();
            });
            done?;
            let right = map
                .words()
                .iter()
                .enumerate()
                .all(|(index, word)| *word == number(index as u64) ^ u64::from(index % WORDS == 7));
            assert!(right, "what was written is not there");
        }
        Use::Random => {
            map.advise(options.hint.unwrap_or(Hint::Random))?;
            let all = map.all();
            phase("random", THREADS * options.touches * WORDS * 8, THREADS * options.touches, || {
                thread::scope(|scope| {
                    for seed in 0..THREADS {
                        scope.spawn(move || {
                            let mut random = Random::new(seed as u64 + 1);
                            for _ in 0..options.touches {
                                let index = random.below(pages) * WORDS + 5;
                                assert_eq!(all[index], number(index as u64), "word {index}");
                            }
                        });
                    }
                });
            });
        }
        Use::Lookup => {
            map.advise(options.hint.unwrap_or(Hint::Random))?;
            let all = map.all();
            let lookups = options.touches / 4;
            phase("lookup", THREADS * lookups * WORDS * 8, THREADS * lookups, || {
                thread::scope(|scope| {
                    for seed in 0..THREADS {
                        scope.spawn(move || {
                            let mut random = Random::new(seed as u64 + 1);
                            for _ in 0..lookups {
                                let index = random.below(words);
                                // One that is there, and one that is not.
                                assert_eq!(all.binary_search(&sorted(index as u64)), Ok(index));
                                assert_eq!(all.binary_search(&(sorted(index as u64) + 1)), Err(index + 1));
                            }
                        });
                    }
                });
            });
        }
        Use::Sort => {
            map.advise(options.hint.unwrap_or(Hint::None))?;
            let mut done = Ok(());
            phase("sort", len, pages, || {
                map.words().sort_unstable();
                done = map.flush();
            });
            done?;
            let mut sum = 0u64;
            let sorted = map.words().windows(2).all(|pair| pair[0] <= pair[1]);
            map.words().iter().for_each(|word| sum = sum.wrapping_add(*word));
            let wanted = (0..words as u64).fold(0u64, |sum, index| sum.wrapping_add(number(index)));
            assert!(sorted && sum == wanted, "it is not sorted, or not what it was");
        }
        Use::Bfs => {
            // Each level goes up through the file.
            map.advise(options.hint.unwrap_or(Hint::Sequential))?;
            let mut reached = 0;
            phase("bfs", len, pages, || reached = breadth_first(map.all()));
            assert!(reached > nodes(words) / 10 * 9, "{reached} nodes are reached");
        }
    }
    Ok(())
}

/// Nodes of a graph in so many words: for each where its edges begin, then the edges, two a
/// word.
fn nodes(words: usize) -> usize {
    words / (1 + DEGREE / 2)
}

/// Numbers that are in order, with others between them.
fn sorted(index: u64) -> u64 {
    index * 3
}

fn make(options: &Options, kind: Use) -> Result<(), Error> {
    let words = options.mib << 17;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&options.file)?);
    if kind == Use::Bfs {
        let nodes = nodes(words);
        for node in 0..nodes {
            file.write_all(&((node * DEGREE) as u64).to_ne_bytes())?;
        }
        for edge in 0..nodes * DEGREE {
            let target = ((u128::from(number(edge as u64)) * nodes as u128) >> 64) as u32;
            file.write_all(&target.to_ne_bytes())?;
        }
    } else {
        let word = if kind == Use::Lookup { sorted } else { number };
        for index in 0..words as u64 {
            file.write_all(&word(index).to_ne_bytes())?;
        }
    }
    let file = file.into_inner()?;
    file.set_len((words * 8) as u64)?;
    file.sync_all()
}

/// How many nodes can be reached from the first.
fn breadth_first(words: &[u64]) -> usize {
    let nodes = nodes(words.len());
    let (starts, edges) = words.split_at(nodes);
    let mut seen = vec![false; nodes];
    let (mut frontier, mut next) = (vec![0u32], Vec::new());
    seen[0] = true;
    let mut reached = 1;
    while !frontier.is_empty() {
        for node in frontier.drain(..) {
            let first = starts[node as usize] as usize / 2;
            for pair in &edges[first..first + DEGREE / 2] {
                for target in [*pair as u32, (*pair >> 32) as u32] {
                    if !seen[target as usize] {
                        seen[target as usize] = true;
                        reached += 1;
                        next.push(target);
                    }
                }
            }
        }
        // In the order of the file, as who minds the disk does.
        next.sort_unstable();
        std::mem::swap(&mut frontier, &mut next);
    }
    reached
}
