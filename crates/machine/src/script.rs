//! Scripts: operations as text, one a line.
//!
//! `#` begins a comment; strings stand in double quotes, with `\0 \n \" \\ \xNN`; numbers are
//! decimal, or hexadecimal with `0x`. The grammar is that of [`Op`].

mod parse;
mod token;

pub use parse::{ScriptError, parse};

use crate::disk::Direction;
use pager::space::{Access, Prot, Share};
use std::fmt;

/// The most bytes that one `read` may ask for: its answer is one line of the log.
pub const MAX_READ: u64 = 1 << 28;

/// An operation and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its line, from 1.
    pub number: u32,
    /// What to do.
    pub op: Op,
}

/// Where a name comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// The script.
    Given(Vec<u8>),
    /// The C string at this address in the process.
    At(u64),
}

/// What is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The bytes.
    pub pattern: Vec<u8>,
    /// How many bytes of the pattern, again and again.
    pub count: u64,
}

/// What an area shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AreaSource {
    /// `anon`, or `anon replace`.
    Anonymous {
        /// Whether areas in the way go.
        replace: bool,
    },
    /// `"FILE" OFFSET`.
    File {
        /// The file.
        name: Vec<u8>,
        /// Where the area begins, in bytes.
        offset: u64,
    },
}

/// What the operation before is expected to have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// It read these bytes.
    Bytes(Vec<u8>),
    /// It returned this, as the log prints it, or a number equal to it.
    Ret(String),
    /// Its process died.
    Dead,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// `create PARENT CHILD`: a process, as a copy of its parent if there is one.
    Create {
        /// The parent, known or not.
        parent: u32,
        /// The child.
        child: u32,
    },
    /// `fork CHILD`: `create` with the current process as parent.
    Fork {
        /// The child.
        child: u32,
    },
    /// `switch PID`: the process that runs from now on.
    Switch {
        /// The process.
        pid: u32,
    },
    /// `destroy`: the current process ends.
    Destroy,
    /// `exit`: the same.
    Exit,
    /// `map`: the lowest free page of the arena, zeros.
    Map,
    /// `map "NAME" BLOCK`, `map @ADDR BLOCK`: the lowest free page of the arena, a block of a file.
    MapFile {
        /// The file's name.
        name: Name,
        /// The block.
        block: u64,
    },
    /// `write ADDR "BYTES"`, `write ADDR BYTE*COUNT`.
    Write {
        /// The first address.
        addr: u64,
        /// What.
        data: Data,
    },
    /// `read ADDR COUNT`.
    Read {
        /// The first address.
        addr: u64,
        /// How many bytes.
        count: u64,
    },
    /// `fetch ADDR`: an instruction is fetched.
    Fetch {
        /// Its address.
        addr: u64,
    },
    /// `fault ADDR r`, `w` or `x`: the bare call.
    Fault {
        /// Where.
        addr: u64,
        /// How.
        access: Access,
    },
    /// `mmap ADDR LEN PROT SHARE "FILE" OFFSET`, `mmap ADDR LEN PROT SHARE anon [replace]`; ADDR or `any`.
    Mmap {
        /// Where; None: anywhere.
        addr: Option<u64>,
        /// How many bytes.
        len: u64,
        /// The rights, like `rw-`.
        prot: Prot,
        /// `shared` or `private`.
        share: Share,
        /// What it shows.
        source: AreaSource,
    },
    /// `munmap ADDR LEN`.
    Munmap {
        /// The first address.
        addr: u64,
        /// How many bytes.
        len: u64,
    },
    /// `mprotect ADDR LEN PROT`.
    Mprotect {
        /// The first address.
        addr: u64,
        /// How many bytes.
        len: u64,
        /// The rights.
        prot: Prot,
    },
    /// `msync ADDR LEN`.
    Msync {
        /// The first address.
        addr: u64,
        /// How many bytes.
        len: u64,
    },
    /// `exec "FILE"`.
    Exec {
        /// The file.
        name: Vec<u8>,
    },
    /// `sp ADDR`: sets the stack pointer.
    Sp {
        /// Where it points.
        addr: u64,
    },
    /// `push COUNT`: moves the stack pointer down and touches.
    Push {
        /// By how many bytes.
        count: u64,
    },
    /// `fail KIND "FILE" BLOCK STATE`, `fail KIND swap BLOCK STATE`.
    Fail {
        /// `read` or `write`.
        direction: Direction,
        /// The file; None: swap.
        file: Option<Vec<u8>>,
        /// The block, or the slot.
        block: u64,
        /// `on` or `off`.
        on: bool,
    },
    /// `expect …`, of the operation before.
    Expect(Expectation),
    /// `dump`: every page's recipe.
    Dump,
    /// `stats`: counts so far.
    Stats,
}

impl Op {
    /// The word that it begins with.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Fork { .. } => "fork",
            Self::Switch { .. } => "switch",
            Self::Destroy => "destroy",
            Self::Exit => "exit",
            Self::Map | Self::MapFile { .. } => "map",
            Self::Write { .. } => "write",
            Self::Read { .. } => "read",
            Self::Fetch { .. } => "fetch",
            Self::Fault { .. } => "fault",
            Self::Mmap { .. } => "mmap",
            Self::Munmap { .. } => "munmap",
            Self::Mprotect { .. } => "mprotect",
            Self::Msync { .. } => "msync",
            Self::Exec { .. } => "exec",
            Self::Sp { .. } => "sp",
            Self::Push { .. } => "push",
            Self::Fail { .. } => "fail",
            Self::Expect(_) => "expect",
            Self::Dump => "dump",
            Self::Stats => "stats",
        }
    }
}

/// Bytes as a string of a script.
struct Quoted<'a>(&'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for byte in self.0 {
            match byte {
                0 => f.write_str("\\0")?,
                b'\n' => f.write_str("\\n")?,
                b'"' => f.write_str("\\\"")?,
                b'\\' => f.write_str("\\\\")?,
                b' '..=b'~' => write!(f, "{}", char::from(*byte))?,
                other => write!(f, "\\x{other:02x}")?,
            }
        }
        f.write_str("\"")
    }
}

fn three_letters(prot: Prot) -> String {
    let letter = |right, name| if prot.contains(right) { name } else { '-' };
    [letter(Prot::READ, 'r'), letter(Prot::WRITE, 'w'), letter(Prot::EXECUTE, 'x')].iter().collect()
}

/// The operation as a script has it.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Create { parent, child } => write!(f, " {parent} {child}"),
            Self::Fork { child: pid } | Self::Switch { pid } => write!(f, " {pid}"),
            Self::Destroy | Self::Exit | Self::Map | Self::Dump | Self::Stats => Ok(()),
            Self::MapFile { name: Name::Given(name), block } => write!(f, " {} {block}", Quoted(name)),
            Self::MapFile { name: Name::At(addr), block } => write!(f, " @{addr:#x} {block}"),
            Self::Write { addr, data } => match *data.pattern {
                [byte] if data.count > 1 => write!(f, " {addr:#x} {byte}*{}", data.count),
                _ => write!(f, " {addr:#x} {}", Quoted(&data.pattern)),
            },
            Self::Read { addr, count } => write!(f, " {addr:#x} {count}"),
            Self::Fetch { addr } | Self::Sp { addr } => write!(f, " {addr:#x}"),
            Self::Fault { addr, access } => write!(f, " {addr:#x} {access}"),
            Self::Mmap { addr, len, prot, share, source } => {
                match addr {
                    Some(addr) => write!(f, " {addr:#x}")?,
                    None => f.write_str(" any")?,
                }
                let share = if *share == Share::Shared { "shared" } else { "private" };
                write!(f, " {len} {} {share} ", three_letters(*prot))?;
                match source {
                    AreaSource::Anonymous { replace } => {
                        f.write_str(if *replace { "anon replace" } else { "anon" })
                    }
                    AreaSource::File { name, offset } => write!(f, "{} {offset}", Quoted(name)),
                }
            }
            Self::Munmap { addr, len } | Self::Msync { addr, len } => write!(f, " {addr:#x} {len}"),
            Self::Mprotect { addr, len, prot } => write!(f, " {addr:#x} {len} {}", three_letters(*prot)),
            Self::Exec { name } => write!(f, " {}", Quoted(name)),
            Self::Push { count } => write!(f, " {count}"),
            Self::Fail { direction, file, block, on } => {
                write!(f, " {direction} ")?;
                match file {
                    Some(name) => Quoted(name).fmt(f)?,
                    None => f.write_str("swap")?,
                }
                write!(f, " {block} {}", if *on { "on" } else { "off" })
            }
            Self::Expect(Expectation::Bytes(bytes)) => write!(f, " {}", Quoted(bytes)),
            Self::Expect(Expectation::Ret(value)) => write!(f, " ret {value}"),
            Self::Expect(Expectation::Dead) => f.write_str(" dead"),
        }
    }
}
