//! Trace files.

use crate::block::{self, BlockHead, BlockKind, HEAD_BYTES, MARK};
use crate::check;
use crate::encode::{Encoder, MOST_EVENT_BYTES};
use crate::event::Event;
use std::fmt;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};

/// What a trace begins with. Like PNG's, it shows when a file was taken for text on its way.
const SIGNATURE: [u8; 8] = *b"\x89OCTR\r\n\x1a";
/// The version of what is written here, and the only one that is read.
const VERSION: u32 = 1;
/// Headers longer than this are none.
const MOST_HEADER: usize = 1 << 16;
/// Bytes of a block's payload after which [`Writer::add`] begins the next.
const FULL: usize = 32 << 10;
/// Problems that are told apart; further ones are counted.
const MOST_PROBLEMS: usize = 100;

/// What the touches of a trace are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Touches of pages that were not mapped, all of them.
    #[default]
    Faults,
    /// Every reference.
    References,
    /// Besides all faults, references to one page in so many, chosen by their numbers.
    Samples(u32),
}

/// What is true of a whole trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Bytes of a page.
    pub page_bytes: u64,
    /// What its touches are.
    pub source: Source,
    /// The budget of each process in bytes; 0 if there was none.
    pub budget_bytes: u64,
    /// Slots of each process's store.
    pub slots: u32,
    /// Whether pages were read before they were asked for.
    pub readahead: bool,
    /// When it began, in seconds since 1970.
    pub started: u64,
    /// The program, as it was named.
    pub program: String,
}

impl Header {
    fn text(&self) -> String {
        let (source, rate) = match self.source {
            Source::Faults => ("faults", 1),
            Source::References => ("references", 1),
            Source::Samples(one_in) => ("samples", one_in),
        };
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "page_bytes={}\nsource={source}\none_in={rate}", self.page_bytes);
        let _ = writeln!(text, "budget_bytes={}\nslots={}", self.budget_bytes, self.slots);
        let _ = writeln!(text, "readahead={}\nstarted={}", u8::from(self.readahead), self.started);
        let _ = writeln!(text, "program={}", self.program.replace('\n', " "));
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let number = |name: &str| value(name).and_then(|value| value.parse::<u64>().ok());
        let page_bytes = number("page_bytes").filter(|bytes| bytes.is_power_of_two())?;
        let source = match value("source")? {
            "faults" => Source::Faults,
            "references" => Source::References,
            "samples" => Source::Samples(u32::try_from(number("one_in")?).ok().filter(|rate| *rate > 0)?),
            _ => return None,
        };
        Some(Self {
            page_bytes,
            source,
            budget_bytes: number("budget_bytes").unwrap_or(0),
            slots: number("slots").and_then(|slots| u32::try_from(slots).ok()).unwrap_or(0),
            readahead: number("readahead") == Some(1),
            started: number("started").unwrap_or(0),
            program: value("program").unwrap_or_default().to_owned(),
        })
    }
}

/// What is wrong with a trace.
#[derive(Debug)]
pub enum Problem {
    /// The file could not be read on.
    Io(io::Error),
    /// It does not begin as traces do.
    NotATrace,
    /// Another version wrote it.
    Version(u32),
    /// Its header is spoilt, so nothing is known of the rest.
    Header,
    /// These bytes are no block.
    Spoilt {
        /// Where they begin.
        offset: u64,
        /// How many they are.
        bytes: u64,
    },
    /// The file ends in the middle of a block, of which nothing can be read.
    CutOff {
        /// Where the block begins.
        offset: u64,
    },
    /// A block of a kind that this version does not know.
    UnknownBlock {
        /// Where it begins.
        offset: u64,
        /// Its kind.
        kind: u8,
    },
    /// A block whose events end before it does, though it is whole: another version wrote it.
    UnknownEvent {
        /// Where the block begins.
        offset: u64,
        /// Bytes that could not be read.
        bytes: u64,
    },
    /// Events that were never written, because there was no room for them.
    Dropped {
        /// Whose.
        pid: u32,
        /// How many.
        events: u64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::NotATrace => f.write_str("is no trace of Outcore's; 'outcore trace import' reads others"),
            Self::Version(version) => {
                write!(f, "is of version {version}, and this outcore reads version {VERSION}")
            }
            Self::Header => f.write_str("has a spoilt header, so nothing of it can be read"),
            Self::Spoilt { offset, bytes } => write!(f, "at byte {offset}: {bytes} bytes are spoilt"),
            Self::CutOff { offset } => write!(f, "at byte {offset}: the file ends within a block"),
            Self::UnknownBlock { offset, kind } => {
                write!(f, "at byte {offset}: a block of an unknown kind '{}'", kind.escape_ascii())
            }
            Self::UnknownEvent { offset, bytes } => {
                write!(f, "at byte {offset}: {bytes} bytes of the block hold no known event")
            }
            Self::Dropped { pid, events } => {
                write!(f, "process {pid}: {events} events were dropped, because the buffer was full")
            }
        }
    }
}

impl std::error::Error for Problem {}

/// A block that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it begins in the file.
    pub offset: u64,
    /// What is said of it.
    pub head: BlockHead,
    /// What it holds.
    pub payload: Vec<u8>,
}

impl Block {
    /// Its events; none if it holds something else.
    pub fn events(&self) -> crate::Decoder<'_> {
        let bytes = if self.head.kind == BlockKind::Events { &self.payload[..] } else { &[] };
        crate::Decoder::new(bytes, self.head.time)
    }

    /// Its text; empty if it holds none.
    pub fn text(&self) -> &str {
        match self.head.kind {
            BlockKind::Modules | BlockKind::Summary => std::str::from_utf8(&self.payload).unwrap_or_default(),
            BlockKind::Events | BlockKind::Unknown(_) => "",
        }
    }
}

/// Reads a trace block by block, past whatever is spoilt.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    header: Header,
    /// What has been read and not used, and where in the file it begins.
    pending: Vec<u8>,
    start: usize,
    offset: u64,
    ended: bool,
    problems: Vec<Problem>,
    more_problems: u64,
    /// The bytes that are being passed over: where they begin.
    spoilt: Option<u64>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// Nothing of the trace can be read.
    pub fn open(from: R) -> Result<Self, Problem> {
        let mut reader = Self {
            from,
            header: Header::default(),
            pending: Vec::new(),
            start: 0,
            offset: 0,
            ended: false,
            problems: Vec::new(),
            more_problems: 0,
            spoilt: None,
        };
        reader.fill(20)?;
        let word = |bytes: &[u8], at: usize| {
            bytes.get(at..at + 4).map_or(0, |word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        };
        let bytes = reader.rest();
        if bytes.len() < 12 || bytes[..8] != SIGNATURE {
            return Err(Problem::NotATrace);
        }
        let (version, len, check) = (word(bytes, 8), word(bytes, 12) as usize, word(bytes, 16));
        if version != VERSION {
            return Err(Problem::Version(version));
        }
        if len > MOST_HEADER {
            return Err(Problem::Header);
        }
        reader.fill(20 + len)?;
        let bytes = reader.rest();
        let text = bytes.get(20..20 + len).ok_or(Problem::Header)?;
        if check::of(&[&bytes[..16], text]) != check {
            return Err(Problem::Header);
        }
        let header = std::str::from_utf8(text).ok().and_then(Header::parse).ok_or(Problem::Header)?;
        reader.header = header;
        reader.skip(20 + len);
        Ok(reader)
    }

    /// What is true of the whole trace.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was wrong so far, and how many problems more than these.
    pub fn problems(&self) -> (&[Problem], u64) {
        (&self.problems, self.more_problems)
    }

    /// Notes a problem that the reader's user found.
    pub fn note(&mut self, problem: Problem) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        } else {
            self.more_problems += 1;
        }
    }

    fn rest(&self) -> &[u8] {
        &self.pending[self.start..]
    }

    fn skip(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    /// Sees to it that `least` bytes are at hand, unless the file ends.
    fn fill(&mut self, least: usize) -> Result<(), Problem> {
        if self.rest().len() >= least || self.ended {
            return Ok(());
        }
        self.pending.drain(..self.start);
        self.start = 0;
        let mut chunk = vec![0; 1 << 18];
        while self.pending.len() < least && !self.ended {
            match self.from.read(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(count) => self.pending.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    return Err(Problem::Io(error));
                }
            }
        }
        Ok(())
    }

    /// The next block that is whole.
    pub fn next_block(&mut self) -> Option<Block> {
        loop {
            if let Err(problem) = self.fill(HEAD_BYTES) {
                self.note(problem);
            }
            let offset = self.offset;
            let Some(bytes) = self.rest().first_chunk::<HEAD_BYTES>() else {
                let left = self.rest().len();
                if left > 0 && self.spoilt.is_none() {
                    self.note(Problem::CutOff { offset });
                }
                self.skip(left);
                self.end_spoilt();
                return None;
            };
            if let Some((head, len, check)) = block::parse(bytes) {
                if let Err(problem) = self.fill(HEAD_BYTES + len) {
                    self.note(problem);
                }
                let bytes = self.rest();
                match bytes.get(HEAD_BYTES..HEAD_BYTES + len) {
                    Some(payload) if check::of(&[&bytes[..HEAD_BYTES - 4], payload]) == check => {
                        let block = Block { offset, head, payload: payload.to_vec() };
                        self.end_spoilt();
                        self.skip(HEAD_BYTES + len);
                        if let Some(block) = self.known(block) {
                            return Some(block);
                        }
                        continue;
                    }
                    None if self.spoilt.is_none() && !self.has_mark_after(1) => {
                        self.note(Problem::CutOff { offset });
                        let left = self.rest().len();
                        self.skip(left);
                        return None;
                    }
                    _ => {}
                }
            }
            // On to the next place where a block may begin.
            self.spoilt.get_or_insert(offset);
            let next = self.rest()[1..].windows(MARK.len()).position(|bytes| bytes == MARK);
            let passed =
                next.map_or_else(|| self.rest().len().saturating_sub(MARK.len() - 1).max(1), |at| at + 1);
            self.skip(passed);
        }
    }

    fn has_mark_after(&self, from: usize) -> bool {
        self.rest()[from..].windows(MARK.len()).any(|bytes| bytes == MARK)
    }

    fn end_spoilt(&mut self) {
        if let Some(offset) = self.spoilt.take() {
            let bytes = self.offset - offset;
            self.note(Problem::Spoilt { offset, bytes });
        }
    }

    /// The block, if this version knows it; notes what it does not.
    fn known(&mut self, block: Block) -> Option<Block> {
        if let BlockKind::Unknown(kind) = block.head.kind {
            self.note(Problem::UnknownBlock { offset: block.offset, kind });
            return None;
        }
        if block.head.kind == BlockKind::Events {
            if block.head.dropped > 0 {
                self.note(Problem::Dropped { pid: block.head.pid, events: block.head.dropped });
            }
            let mut events = block.events();
            events.by_ref().for_each(drop);
            if events.rest() > 0 {
                let bytes = events.rest() as u64;
                self.note(Problem::UnknownEvent { offset: block.offset, bytes });
            }
        }
        Some(block)
    }
}

/// Writes a trace.
#[derive(Debug)]
pub struct Writer<W> {
    into: W,
    bytes: u64,
    /// The block that [`Self::add`] fills.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    head: BlockHead,
    encoder: Encoder,
    payload: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a trace.
    ///
    /// # Errors
    /// What writing says.
    pub fn new(mut into: W, header: &Header) -> io::Result<Self> {
        let text = header.text();
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
        let check = check::of(&[&bytes, text.as_bytes()]);
        bytes.extend_from_slice(&check.to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        into.write_all(&bytes)?;
        Ok(Self { into, bytes: bytes.len() as u64, open: None })
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes a whole block.
    ///
    /// # Errors
    /// What writing says; `InvalidInput` for a payload of more than 1 MiB.
    pub fn block(&mut self, head: &BlockHead, payload: &[u8]) -> io::Result<()> {
        if payload.len() > block::MOST_PAYLOAD {
            return Err(io::Error::new(ErrorKind::InvalidInput, "a block of more than 1 MiB"));
        }
        self.into.write_all(&block::head(head, payload))?;
        self.into.write_all(payload)?;
        self.bytes += (HEAD_BYTES + payload.len()) as u64;
        Ok(())
    }

    /// Writes a block of text, cut at a line where it is too long.
    ///
    /// # Errors
    /// What writing says.
    pub fn text(&mut self, kind: BlockKind, pid: u32, time: u64, text: &str) -> io::Result<()> {
        let end = if text.len() <= block::MOST_PAYLOAD {
            text.len()
        } else {
            text.as_bytes()[..block::MOST_PAYLOAD]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1)
        };
        let head = BlockHead { kind, pid, events: 0, dropped: 0, time };
        self.block(&head, &text.as_bytes()[..end])
    }

    /// Adds an event of process `pid`; it is written with others, at the latest by [`Self::finish`].
    ///
    /// # Errors
    /// What writing says.
    pub fn add(&mut self, pid: u32, time: u64, thread: u32, event: &Event) -> io::Result<()> {
        let ends = |open: &Open| {
            open.head.pid != pid || open.payload.len() + MOST_EVENT_BYTES > FULL || time < open.head.time
        };
        if self.open.as_ref().is_some_and(ends) {
            self.flush()?;
        }
        let open = self.open.get_or_insert_with(|| Open {
            head: BlockHead { kind: BlockKind::Events, pid, events: 0, dropped: 0, time },
            encoder: Encoder::new(time),
            payload: Vec::with_capacity(FULL),
        });
        let mut bytes = [0; MOST_EVENT_BYTES];
        let len = open.encoder.encode(&mut bytes, time, thread, event);
        open.payload.extend_from_slice(&bytes[..len]);
        open.head.events += 1;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.open.take() {
            Some(open) => self.block(&open.head, &open.payload),
            None => Ok(()),
        }
    }

    /// Writes what is left; bytes in all.
    ///
    /// # Errors
    /// What writing says.
    pub fn finish(mut self) -> io::Result<u64> {
        self.flush()?;
        self.into.flush()?;
        Ok(self.bytes)
    }
}
