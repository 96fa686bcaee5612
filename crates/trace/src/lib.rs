//! Traces: what a program touched, and what its pager did about it.
//!
//! A trace is a file of blocks. Each can be read by itself, so a trace that was cut off, or
//! spoilt in places, is read where it is whole, and the rest is named ([`Problem`]).
//!
//! ```text
//! file:   signature(8) version(4) length(4) check(4) text             what is true of the whole trace
//!         block*
//! block:  "OCTB" kind(1) 0(3) pid(4) length(4) events(4) dropped(8) time(8) check(4) payload
//! kinds:  E events    M modules (text: start end offset path)    S summary (text: name=value)
//! check:  CRC-32 of the header before it, and of the payload
//! ```
//!
//! Numbers are little-endian. Events are a tag (kind in the low five bits, a small argument
//! above) and varints; pages are differences to the page before of their own kind, times are
//! differences in units of 100 ns, threads are indices into a table that each block begins anew.
//! The kinds and their fields are those of [`Event`].
//!
//! What a process records falls in three groups, and it matters which is which:
//!
//! * **What the program did**: touches, and changes of its address space.
//! * **What the pager was given**: its frames, and the pace: how many pages it was about to park
//!   or to evict when, what was in them, and when its transfers ended. No page is named.
//! * **What came of it**: how a touch was resolved, which pages were evicted. This is for people;
//!   a replay decides it again, and is told by [`Event::is_outcome`] what to pass over.
//!
//! [`Encoder`] runs inside of the paged program: it does not allocate.

#![forbid(unsafe_code)]

mod block;
mod check;
mod decode;
mod encode;
mod event;
mod export;
mod file;
mod import;
mod sampling;
mod text;
mod varint;

pub use block::{BlockHead, BlockKind};
pub use decode::{Decoder, Stamped};
pub use encode::{Encoder, MOST_EVENT_BYTES};
pub use event::{Direction, Ending, Event, Fate, Gone, Kept, Outcome, Parked, Rights};
pub use export::{chrome, csv};
pub use file::{Block, Header, Problem, Reader, Source, Writer};
pub use import::{ImportError, lackey, pages};
pub use sampling::sampling_hash;
pub use text::{Module, Summary, modules, modules_text, summary, summary_text};

/// Times are in units of so many nanoseconds.
pub const TICK_NS: u64 = 100;
