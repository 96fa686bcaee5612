#![expect(unsafe_code, reason = "maps the memory that is measured")]
//! Memory that two processes have, in an arena or by the kernel; and the same in a heap of one.

use crate::memory::WORDS;
use crate::numbers::{Random, number};
use crate::phase::phase;
use clap::{Args, ValueEnum};
use outcore::{Arena, Heap, Pages, SharedArena};
use std::fs::{File, OpenOptions};
use std::io::Error;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Args)]
pub(crate) struct Options {
    /// What is measured
    #[arg(long)]
    memory: Kind,
    /// MiB of data
    #[arg(long)]
    mib: usize,
    /// MiB of RAM for an arena or a heap
    #[arg(long)]
    ram: u64,
    /// Random touches
    #[arg(long, default_value_t = 20_000)]
    touches: usize,
    /// Read what is there by this name, and no more
    #[arg(long, hide = true)]
    member: Option<String>,
}

/// A kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A shared arena; another member reads
    Arena,
    /// A heap; its own process reads
    Heap,
    /// Shared memory of the kernel's (memfd_create); another process reads
    Kernel,
}

type Failed = Box<dyn std::error::Error>;

/// What is kept for as long as the words are used.
enum Memory {
    Arena(SharedArena),
    Heap(Pages<'static>, usize),
    Kernel { start: usize, len: usize },
}

impl Memory {
    /// What a name stands for that another process has made.
    fn of_member(kind: Kind, name: &str) -> Result<Self, Failed> {
        match kind {
            Kind::Arena => Ok(Self::Arena(Arena::attach(name)?)),
            Kind::Kernel => Self::map(&OpenOptions::new().read(true).write(true).open(name)?),
            Kind::Heap => Err("a heap has no members".into()),
        }
    }

    fn map(file: &File) -> Result<Self, Failed> {
        let (len, rights) = (file.metadata()?.len() as usize, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), len, rights, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(Error::last_os_error().into());
        }
        Ok(Self::Kernel { start: start.expose_provenance(), len })
    }

    fn words(&self) -> &[AtomicU64] {
        let (start, len) = match self {
            Self::Arena(arena) => (arena.addr(), arena.len()),
            Self::Heap(pages, len) => (pages.addr(), *len),
            Self::Kernel { start, len } => (*start, *len),
        };
        // SAFETY: mapped and usable for as long as it is borrowed, aligned to pages; all use of it is atomic.
        unsafe { std::slice::from_raw_parts(ptr::with_exposed_provenance(start), len / 8) }
    }
}

/// Fills memory, and has it read: by another process where it is shared.
///
/// # Errors
/// The memory cannot be had, or the other process fails.
///
/// # Panics
/// If a word is not what was written: then nothing that was measured counts.
pub(crate) fn run(options: &Options) -> Result<(), Failed> {
    if let Some(name) = &options.member {
        read(Memory::of_member(options.memory, name)?.words(), options);
        return Ok(());
    }
    let (bytes, budget) = (options.mib << 20, options.ram << 20);
    let mut file = None;
    let (memory, name) = match options.memory {
        Kind::Arena => {
            let name = format!("bench-{}", std::process::id());
            (Memory::Arena(Arena::create_shared(&name, bytes as u64).budget(budget).create()?), name)
        }
        Kind::Heap => {
            let arena: &Arena = Box::leak(Box::new(Heap::builder().budget(budget).build()?.arena(bytes)?));
            (Memory::Heap(arena.alloc(bytes)?, bytes), String::new())
        }
        Kind::Kernel => {
            let memory = rustix::fs::memfd_create("bench", rustix::fs::MemfdFlags::CLOEXEC)?;
            let memory = file.insert(File::from(memory));
            memory.set_len(bytes as u64)?;
            (Memory::map(memory)?, format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd()))
        }
    };
    let words = memory.words();
    phase("fill", bytes, words.len() / WORDS, || {
        for (index, word) in words.iter().enumerate() {
            word.store(number(index as u64), Relaxed);
        }
    });
    if options.memory == Kind::Heap {
        read(words, options);
        return Ok(());
    }
    let (mib, ram) = (options.mib.to_string(), options.ram.to_string());
    let kind = options.memory.to_possible_value().map(|kind| kind.get_name().to_owned()).unwrap_or_default();
    let status = Command::new(std::env::current_exe()?)
        .args(["shared", "--memory", &kind, "--mib", &mib, "--ram", &ram, "--member", &name])
        .args(["--touches", &options.touches.to_string()])
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("the other process: {status}").into()) }
}

fn read(words: &[AtomicU64], options: &Options) {
    let pages = words.len() / WORDS;
    let expected = (0..words.len() as u64).fold(0u64, |sum, index| sum.wrapping_add(number(index)));
    phase("read", options.mib << 20, pages, || {
        let sum = words.iter().fold(0u64, |sum, word| sum.wrapping_add(word.load(Relaxed)));
        assert_eq!(sum, expected, "what was read is not what was written");
    });
    phase("random", 0, options.touches, || {
        let mut random = Random::new(11);
        for _ in 0..options.touches {
            let index = random.below(pages) * WORDS;
            assert_eq!(words[index].load(Relaxed), number(index as u64), "word {index}");
        }
    });
}
