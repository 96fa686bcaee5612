//! What malloc and free cost, in memory that suffices.

use crate::blocks::Block;
use crate::numbers::Random;
use crate::phase::phase;
use clap::{Args, ValueEnum};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

#[derive(Args)]
pub(crate) struct Options {
    /// Sizes of the blocks
    #[arg(long)]
    sizes: Sizes,
    /// Who frees what
    #[arg(long)]
    pattern: Pattern,
    /// Calls of malloc, by all threads together, in thousands
    #[arg(long)]
    thousands: Option<usize>,
    /// MiB of blocks that are live at a time, in place of what suits the sizes
    #[arg(long)]
    mib: Option<usize>,
}

/// Sizes are spread evenly over their logarithms: half as long is as frequent.
#[derive(Clone, Copy, ValueEnum)]
enum Sizes {
    /// 8 to 256 bytes
    Small,
    /// 8 bytes to 32 KiB
    Mixed,
    /// 32 KiB to 1 MiB
    Large,
}

#[derive(Clone, Copy, ValueEnum)]
enum Pattern {
    /// One thread replaces blocks at random
    One,
    /// Four threads replace blocks of their own at random
    Four,
    /// Two threads allocate, two others free
    Remote,
}

impl Sizes {
    fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Mixed => "mixed",
            Self::Large => "large",
        }
    }

    /// The shortest, and how often it may be doubled.
    fn range(self) -> (usize, usize) {
        match self {
            Self::Small => (8, 5),
            Self::Mixed => (8, 12),
            Self::Large => (32 << 10, 5),
        }
    }

    /// Bytes of a block, on average.
    fn mean(self) -> usize {
        let (shortest, doublings) = self.range();
        // Between once and twice a power of two, and each power as often.
        3 * shortest * ((1 << doublings) - 1) / (2 * doublings)
    }

    /// Blocks that are live at a time: of all threads, about 30 MiB of small ones, 70 of mixed ones, 70 of large ones.
    fn live(self) -> usize {
        match self {
            Self::Small => 400_000,
            Self::Mixed => 20_000,
            Self::Large => 240,
        }
    }

    /// Blocks on their way between two threads.
    fn queue(self) -> usize {
        match self {
            Self::Small | Self::Mixed => RING,
            Self::Large => 8,
        }
    }

    fn thousands(self) -> usize {
        match self {
            Self::Small => 8000,
            Self::Mixed => 4000,
            Self::Large => 40,
        }
    }

    fn pick(self, random: &mut Random) -> usize {
        let (shortest, doublings) = self.range();
        let base = shortest << random.below(doublings);
        base + random.below(base)
    }
}

impl Pattern {
    fn name(self) -> &'static str {
        match self {
            Self::One => "1 thread",
            Self::Four => "4 threads",
            Self::Remote => "freed by others",
        }
    }
}

/// Measures one combination, once.
pub(crate) fn run(options: &Options) {
    let Options { sizes, pattern, thousands, mib } = *options;
    let calls = thousands.unwrap_or_else(|| sizes.thousands()) * 1000;
    let name = format!("{}, {}", sizes.name(), pattern.name());
    let live = mib.map(|mib| (mib << 20) / sizes.mean());
    match pattern {
        Pattern::One => replace_by(1, sizes, live.unwrap_or(sizes.live()), calls, &name),
        Pattern::Four => replace_by(4, sizes, live.unwrap_or(sizes.live()), calls, &name),
        Pattern::Remote => {
            let queue =
                live.map_or(Queue { len: sizes.queue(), least: 0 }, |live| Queue::of_live(live / PAIRS));
            hand_over_by_pairs(sizes, queue, calls, &name);
        }
    }
}

/// Blocks are made first, and not measured.
fn replace_by(threads: usize, sizes: Sizes, live: usize, calls: usize, name: &str) {
    let make = |thread: usize| {
        let mut random = Random::new(thread as u64);
        let live: Vec<Block> = (0..live / threads).map(|_| Block::new(sizes.pick(&mut random))).collect();
        (random, live)
    };
    if threads == 1 {
        let (mut random, mut live) = make(0);
        phase(name, 0, calls, || replace(&mut live, sizes, calls, &mut random));
        return;
    }
    let start = std::sync::Barrier::new(threads + 1);
    let end = std::sync::Barrier::new(threads + 1);
    thread::scope(|scope| {
        for thread in 0..threads {
            let (start, end) = (&start, &end);
            scope.spawn(move || {
                let (mut random, mut live) = make(thread);
                start.wait();
                replace(&mut live, sizes, calls / threads, &mut random);
                end.wait();
            });
        }
        start.wait();
        phase(name, 0, calls, || _ = end.wait());
    });
}

fn replace(live: &mut [Block], sizes: Sizes, calls: usize, random: &mut Random) {
    for _ in 0..calls {
        let at = random.below(live.len());
        live[at].touch();
        // The new one is made first, as `x = malloc()` before `free(old)` would.
        live[at] = Block::new(sizes.pick(random));
    }
}

/// Blocks on their way at most: queues of small blocks are long, and of large ones short.
const RING: usize = 256;

/// Pairs of threads of which one allocates what the other frees.
const PAIRS: usize = 2;

/// Blocks on their way between two threads.
#[derive(Clone, Copy)]
struct Queue {
    len: usize,
    /// So many are there before the first is freed, and whenever one is.
    least: usize,
}

impl Queue {
    /// So long that about so many are live all the time.
    fn of_live(live: usize) -> Self {
        let len = live.max(8);
        Self { len, least: len / 8 * 7 }
    }
}

/// What is on its way in the beginning is made first, and not measured.
fn hand_over_by_pairs(sizes: Sizes, queue: Queue, calls: usize, name: &str) {
    let start = std::sync::Barrier::new(2 * PAIRS + 1);
    let end = std::sync::Barrier::new(2 * PAIRS + 1);
    thread::scope(|scope| {
        for pair in 0..PAIRS {
            let (start, end) = (&start, &end);
            scope.spawn(move || hand_over(sizes, queue, calls / PAIRS, pair as u64, [start, end]));
        }
        start.wait();
        phase(name, 0, calls, || _ = end.wait());
    });
}

/// One thread allocates, and another frees.
fn hand_over(sizes: Sizes, queue: Queue, calls: usize, pair: u64, [start, end]: [&std::sync::Barrier; 2]) {
    let Queue { len, least } = queue;
    let ring: Vec<AtomicUsize> = (0..len).map(|_| AtomicUsize::new(0)).collect();
    let wait = |slot: &AtomicUsize, full: bool| {
        loop {
            let word = slot.load(Ordering::Acquire);
            if (word != 0) == full {
                return word;
            }
            thread::yield_now();
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random::new(pair);
            for call in 0..least + calls {
                if call == least {
                    start.wait();
                }
                let slot = &ring[call % len];
                let block = Block::new(sizes.pick(&mut random));
                wait(slot, false);
                slot.store(block.into_word(), Ordering::Release);
            }
            end.wait();
        });
        scope.spawn(|| {
            let mut random = Random::new(pair);
            start.wait();
            for call in 0..calls {
                if least > 0 {
                    // One that is so many behind it is there, and so are those between.
                    wait(&ring[(call + least) % len], true);
                }
                let slot = &ring[call % len];
                let word = wait(slot, true);
                // The same numbers, so the same lengths.
                let block = Block::received(word, sizes.pick(&mut random));
                slot.store(0, Ordering::Release);
                block.touch();
            }
            end.wait();
            // What is still on its way ends with the process.
        });
    });
}
