//! `outcore run --trace`: takes blocks out of the processes' rings and writes them to a file.

use crate::args::{RunOptions, Switch};
use crate::kernel::spawn_without_signals;
use crate::size;
use crate::status::{Status, descriptor_path};
use crate::trouble::Trouble;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use sys::ring::{BLOCK_BYTES, FEWEST_BLOCKS, MOST_BLOCKS, RingReader, Taken, ring_bytes};
use sys::status::{MAX_RECORDS, Record};
use trace::{BlockHead, BlockKind, Header, Module, Source, Writer, modules_text, summary_text};

/// How often rings are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How often it is looked what a process has mapped.
const LOOK_AT_MODULES: Duration = Duration::from_millis(200);
/// Each process's buffer if nothing else is said.
const DEFAULT_BUFFER: u64 = 1 << 20;

/// A trace that is being written.
pub(crate) struct Recording {
    rings: OwnedFd,
    path: PathBuf,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Written>>,
}

/// What became of it.
#[derive(Default)]
struct Written {
    bytes: u64,
    events: u64,
    dropped: u64,
}

impl Recording {
    /// Begins, if a trace is wanted.
    ///
    /// # Errors
    /// The file cannot be written, or the buffer makes no sense.
    pub(crate) fn start(
        options: &RunOptions,
        header: &Header,
        status: &Status,
    ) -> Result<Option<Self>, Trouble> {
        let Some(path) = &options.trace else { return Ok(None) };
        let blocks = blocks(options.trace_buffer.as_deref())?;
        let refused =
            |error: io::Error| Trouble::own(format!("--trace {} cannot be written: {error}", path.display()));
        let file = File::create(path).map_err(refused)?;
        let source = options.trace_access.map_or(Source::Faults, Source::Samples);
        let readahead = header.readahead && options.readahead == Switch::On;
        let header = Header { source, readahead, ..header.clone() };
        let writer = Writer::new(file, &header).map_err(refused)?;
        let bytes = ring_bytes(blocks) as u64 * MAX_RECORDS as u64;
        let no_memory = |error| Trouble::own(format!("no memory for the trace's buffer: {error}"));
        let rings = sys::shared::file("outcore-trace", bytes).map_err(no_memory)?;
        // How long rings are is read from the first.
        RingReader::make(&rings, 0, blocks).map_err(no_memory)?;
        let ends = Arc::new(AtomicBool::new(false));
        let mut scribe = Scribe {
            rings: rings.try_clone().map_err(|error| Trouble::own(error.to_string()))?,
            blocks,
            readers: Vec::new(),
            told: 0,
            writer,
            modules: BTreeMap::new(),
            written: Written::default(),
            payload: Vec::new(),
        };
        let (status, told) = (status.watcher(), Arc::clone(&ends));
        let thread = spawn_without_signals(move || {
            let mut next_modules = Instant::now();
            loop {
                let ends = told.load(Acquire);
                let records: Vec<&'static Record> = status.records().collect();
                scribe.drain(status.taken().len())?;
                if ends {
                    return scribe.finish(&records, status.taken());
                }
                if Instant::now() >= next_modules {
                    scribe.look_at_modules(&records)?;
                    next_modules = Instant::now() + LOOK_AT_MODULES;
                }
                std::thread::sleep(LOOK);
            }
        });
        let thread = thread.map_err(|error| Trouble::own(format!("no thread for the trace: {error}")))?;
        Ok(Some(Self { rings, path: path.clone(), ends, thread }))
    }

    /// Tells the program where to write.
    pub(crate) fn tell(&self, command: &mut Command, options: &RunOptions) {
        let number = |option: Option<u32>| option.unwrap_or(0).to_string();
        command
            .env("OUTCORE_TRACE", descriptor_path(self.rings.as_raw_fd()))
            .env("OUTCORE_TRACE_CODE", number(options.trace_code))
            .env("OUTCORE_TRACE_CALLERS", if options.trace_callers { "on" } else { "off" })
            .env("OUTCORE_TRACE_ACCESS", number(options.trace_access));
    }

    /// Writes what is left, once the program has ended; what to say of it.
    pub(crate) fn finish(self) -> String {
        self.ends.store(true, Release);
        let path = self.path.display();
        match self.thread.join() {
            Ok(Ok(Written { bytes, events, dropped })) => {
                let (events, dropped_text) = (size::grouped(events), size::grouped(dropped));
                let lost = if dropped == 0 {
                    String::new()
                } else {
                    format!("; {dropped_text} more were dropped: give --trace-buffer more")
                };
                format!("trace: {events} events in {path}, {}{lost}", size::shown(bytes))
            }
            Ok(Err(error)) => format!("trace: {path} could not be written to its end: {error}"),
            Err(_) => format!("trace: {path} could not be written to its end"),
        }
    }
}

/// How many blocks a buffer of that size has.
fn blocks(option: Option<&str>) -> Result<u32, Trouble> {
    let bytes = match option {
        None => DEFAULT_BUFFER,
        Some(text) => {
            size::parse(text).map_err(|error| Trouble::own(format!("--trace-buffer {text} {error}")))?
        }
    };
    let least = u64::from(FEWEST_BLOCKS) * BLOCK_BYTES as u64;
    let blocks = u32::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX);
    if bytes < least || blocks > MOST_BLOCKS {
        let most = size::typed(u64::from(MOST_BLOCKS) * BLOCK_BYTES as u64);
        return Err(Trouble::own(format!(
            "--trace-buffer: from {} to {most} are possible",
            size::typed(least)
        )));
    }
    Ok(blocks)
}

/// What the thread has.
struct Scribe {
    rings: OwnedFd,
    blocks: u32,
    readers: Vec<RingReader>,
    /// Drops that blocks have told of.
    told: u64,
    writer: Writer<File>,
    /// What was last written of what each process has mapped.
    modules: BTreeMap<u32, Vec<Module>>,
    written: Written,
    payload: Vec<u8>,
}

impl Scribe {
    /// Reads what is in the first `rings`: a process has that of its record's place on the status page.
    fn drain(&mut self, rings: usize) -> io::Result<()> {
        while self.readers.len() < rings {
            self.readers.push(RingReader::make(&self.rings, self.readers.len(), self.blocks)?);
        }
        for index in 0..self.readers.len() {
            while let Some(taken) = self.readers[index].take(&mut self.payload) {
                self.write(taken)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, taken: Taken) -> io::Result<()> {
        let head = BlockHead {
            kind: BlockKind::Events,
            pid: taken.pid,
            events: taken.events,
            dropped: taken.dropped_before,
            time: taken.time,
        };
        self.written.events += u64::from(taken.events);
        self.told += taken.dropped_before;
        self.writer.block(&head, &self.payload)
    }

    fn look_at_modules(&mut self, records: &[&'static Record]) -> io::Result<()> {
        for record in records {
            // Before paging begins nothing is traced.
            if record.paging_since_ns.load(Relaxed) == 0 {
                continue;
            }
            let pid = record.pid.load(Relaxed);
            let Some(modules) = mapped_modules(pid) else { continue };
            if self.modules.get(&pid) != Some(&modules) {
                self.writer.text(BlockKind::Modules, pid, 0, &modules_text(&modules))?;
                self.modules.insert(pid, modules);
            }
        }
        Ok(())
    }

    fn finish(mut self, records: &[&'static Record], taken: &[Record]) -> io::Result<Written> {
        for index in 0..self.readers.len() {
            if let Some(taken) = self.readers[index].last(&mut self.payload) {
                self.write(taken)?;
            }
            self.written.dropped += self.readers[index].dropped();
            // What was dropped last is in no block's head.
            let untold = self.written.dropped.saturating_sub(self.told);
            if untold > 0 {
                let pid = taken.get(index).map_or(0, |record| record.pid.load(Relaxed));
                self.told += untold;
                let head = BlockHead { kind: BlockKind::Events, pid, events: 0, dropped: untold, time: 0 };
                self.writer.block(&head, &[])?;
            }
        }
        for record in records {
            let text = summary_text(record.numbers());
            self.writer.text(BlockKind::Summary, record.pid.load(Relaxed), 0, &text)?;
        }
        self.written.bytes = self.writer.finish()?;
        Ok(self.written)
    }
}

/// The files that process `pid` has mapped for execution; none if it has ended.
pub(crate) fn mapped_modules(pid: u32) -> Option<Vec<Module>> {
    let maps = fs::read(format!("/proc/{pid}/maps")).ok()?;
    let maps = String::from_utf8_lossy(&maps);
    let modules: Vec<Module> = maps.lines().filter_map(module).collect();
    (!modules.is_empty()).then_some(modules)
}

/// A line of `/proc/PID/maps`, if it is about a file that can be executed.
fn module(line: &str) -> Option<Module> {
    let mut parts = line.splitn(6, ' ');
    let (start, end) = parts.next()?.split_once('-')?;
    let executable = parts.next()?.as_bytes().get(2) == Some(&b'x');
    let offset = parts.next()?;
    let path = parts.nth(2)?.trim_start();
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let file = executable && path.starts_with('/');
    file.then_some(Module { start: hex(start)?, end: hex(end)?, offset: hex(offset)?, path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_files_are_found_in_maps() {
        let line =
            "7f0a12000000-7f0a12195000 r-xp 00028000 fd:01 123456                     /usr/lib/libc.so.6";
        let found = module(line).unwrap();
        let path = "/usr/lib/libc.so.6".to_owned();
        assert_eq!(found, Module { start: 0x7f0a_1200_0000, end: 0x7f0a_1219_5000, offset: 0x28000, path });
        for other in [
            "7f0a12000000-7f0a12195000 rw-p 00028000 fd:01 123456      /usr/lib/libc.so.6",
            "7ffd1c9a6000-7ffd1c9a8000 r-xp 00000000 00:00 0                          [vdso]",
            "7f0a12000000-7f0a12195000 r-xp 00000000 00:00 0 ",
            "",
        ] {
            assert_eq!(module(other), None, "{other}");
        }
        assert!(mapped_modules(std::process::id()).is_some());
    }

    #[test]
    fn buffers_have_limits() {
        assert_eq!(blocks(None).unwrap(), 32);
        assert_eq!(blocks(Some("2M")).unwrap(), 64);
        for text in ["1K", "2G", "what"] {
            assert!(blocks(Some(text)).unwrap_err().text.contains("--trace-buffer"));
        }
    }
}
