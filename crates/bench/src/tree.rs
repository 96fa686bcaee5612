//! Processes that share one budget: some read, others rest.

use crate::memory::{WORDS, Words};
use crate::numbers::{Random, number};
use clap::Args;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use sys::status::StatusPage;

/// How long the hot one reads.
const HOT: Duration = Duration::from_secs(4);
/// How often it is looked who has which frames.
const LOOK: Duration = Duration::from_millis(5);
/// Of so many hundredths of all frames it is asked how soon the hot one has them.
const SHARE: u64 = 85;

#[derive(Args)]
pub(crate) struct Options {
    /// Processes that read
    #[arg(long, default_value_t = 4)]
    readers: usize,
    /// MiB of each
    #[arg(long)]
    mib: usize,
    /// How often they read all of it
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Processes that rest
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// MiB of each
    #[arg(long, default_value_t = 1)]
    idle_mib: usize,
    /// Read at random, and look how soon most frames are the reader's
    #[arg(long)]
    hot: bool,
    /// Be one of them
    #[arg(long, hide = true)]
    member: bool,
}

/// One of them, as the first process sees it.
struct Member {
    child: Child,
    told: ChildStdin,
    tells: BufReader<ChildStdout>,
}

impl Member {
    /// Starts one, which fills its memory.
    fn start(options: &Options, mib: usize) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args([
            "tree",
            "--member",
            "--mib",
            &mib.to_string(),
            "--rounds",
            &options.rounds.to_string(),
        ]);
        if options.hot {
            command.arg("--hot");
        }
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(|error| format!("a member cannot be started: {error}"))?;
        let (Some(told), Some(tells)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a member has no pipes".into());
        };
        let mut member = Self { child, told, tells: BufReader::new(tells) };
        member.hear("full")?;
        Ok(member)
    }

    fn tell(&mut self) -> Result<(), String> {
        writeln!(self.told).map_err(|error| format!("a member is gone: {error}"))
    }

    fn hear(&mut self, wanted: &str) -> Result<(), String> {
        let mut line = String::new();
        self.tells.read_line(&mut line).map_err(|error| error.to_string())?;
        if line.trim() == wanted { Ok(()) } else { Err(format!("a member said {line:?}, not {wanted}")) }
    }

    fn end(mut self) -> Result<(), String> {
        drop(self.told);
        let status = self.child.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("a member ended: {status}")) }
    }
}

/// Starts all, has the readers read, and prints how long it took; or is one of them.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    if options.member {
        return be_member(options);
    }
    let start = |count: usize, mib: usize| -> Result<Vec<Member>, String> {
        (0..count).map(|_| Member::start(options, mib)).collect()
    };
    let idle = start(options.idle, options.idle_mib)?;
    let mut readers = start(options.readers, options.mib)?;
    let begun = Instant::now();
    readers.iter_mut().try_for_each(Member::tell)?;
    if options.hot {
        let soon = time_to_share(&readers[0], &idle);
        println!("{}", json!({"phase": "hot", "seconds": soon.map(|time| time.as_secs_f64())}));
    }
    readers.iter_mut().try_for_each(|reader| reader.hear("done"))?;
    if !options.hot {
        let bytes = (options.readers * options.rounds * options.mib) << 20;
        println!("{}", json!({"phase": "read", "seconds": begun.elapsed().as_secs_f64(), "bytes": bytes}));
    }
    idle.into_iter().chain(readers).try_for_each(Member::end)
}

/// When the reader has its share of all frames; none if that does not happen.
fn time_to_share(reader: &Member, idle: &[Member]) -> Option<Duration> {
    let page = StatusPage::open(std::env::var_os("OUTCORE_STATUS")?.as_ref())?;
    let frames = |member: &Member| {
        page.find(member.child.id()).map_or(0, |record| record.resident_pages.load(Relaxed))
    };
    let begun = Instant::now();
    while begun.elapsed() < HOT {
        let (own, others) = (frames(reader), idle.iter().map(frames).sum::<u64>());
        if own * 100 >= (own + others) * SHARE {
            return Some(begun.elapsed());
        }
        std::thread::sleep(LOOK);
    }
    None
}

fn be_member(options: &Options) -> Result<(), String> {
    let mut words = Words::map(options.mib, None).map_err(|error| error.to_string())?;
    let words = words.own();
    (0_u64..).zip(words.iter_mut()).for_each(|(index, word)| *word = number(index));
    println!("full");
    let mut line = String::new();
    // Without a word it was to rest.
    if std::io::stdin().read_line(&mut line).map_err(|error| error.to_string())? == 0 {
        return Ok(());
    }
    if options.hot {
        let (begun, mut random) = (Instant::now(), Random::new(5));
        while begun.elapsed() < HOT {
            let index = random.below(words.len() / WORDS) * WORDS;
            check(words[index], index)?;
        }
    } else {
        for _ in 0..options.rounds {
            for (page, first) in words.iter().step_by(WORDS).enumerate() {
                check(*first, page * WORDS)?;
            }
        }
    }
    println!("done");
    std::io::stdin().read_line(&mut line).map(drop).map_err(|error| error.to_string())
}

fn check(word: u64, index: usize) -> Result<(), String> {
    if word == number(index as u64) { Ok(()) } else { Err(format!("word {index} has other bytes")) }
}
