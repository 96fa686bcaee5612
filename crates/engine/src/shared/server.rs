#![expect(unsafe_code, reason = "a process of its own: fork, descriptors, signals, exit")]
//! The process that pages a shared arena.
//!
//! It begins as a program that was started a second time, before its `main`: so it has the
//! code, and an address space of its own in which nothing of the starter's is kept alive. It
//! is nobody's child, leads a session, and has no descriptor but its own.

use crate::budget::Budget;
use crate::core::{Core, pages_of};
use crate::engine::{Engine, this_is_the_program};
use crate::files::Link;
use crate::instance;
use crate::serve;
use crate::settings::{Scope, Settings, StorePlace};
use crate::shared::VERSION;
use crate::shared::members::Members;
use crate::shared::packet::Packet;
use crate::shared::socket::{self, Received};
use crate::signals::Blocked;
use crate::tree::Tree;
use crate::voice::{Told, Voice};
use pager::{Commit, Rights};
use rustix::fd::{BorrowedFd, FromRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvFlags, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sys::views::{self, ViewedMemory};

/// Says that the process is to be a server: the version, the arena's bytes, and whether its budget
/// is its own or shared.
pub(crate) const VARIABLE: &str = "OUTCORE_ARENA_SERVER";
pub(crate) const OWN: &str = "own";
pub(crate) const SHARED: &str = "shared";
/// What `ps` calls it.
const NAME: &core::ffi::CStr = c"outcore-arena";

/// Whether this process was started to be a server. To be asked before `main`.
pub fn is_wanted() -> bool {
    // SAFETY: a look at what the kernel has told.
    let has_more_rights = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
    // The variable alone, set by whoever, does not make a program something else.
    !has_more_rights && std::env::var_os(VARIABLE).is_some() && is_started_by_member()
}

/// Whether standard input is the socket that a starter gives.
fn is_started_by_member() -> bool {
    // SAFETY: descriptor 0 is only asked about, and may be closed.
    let input = unsafe { BorrowedFd::borrow_raw(0) };
    sockopt::socket_type(input).is_ok_and(|kind| kind == SocketType::SEQPACKET) && socket::is_ours(input)
}

/// Serves a shared arena, in place of the program, until its last member is gone. Threads
/// that it starts call `thread_starts` first.
pub fn run(thread_starts: fn()) -> ! {
    let starter = become_nobodys();
    let served = match begin(&starter, thread_starts) {
        Ok(Ready { engine, listener, memory, len }) => {
            let served = serve(engine, starter, listener, memory, len);
            leave_budget(engine);
            served
        }
        Err(text) => Err((starter, text)),
    };
    if let Err((starter, text)) = served {
        // If it has gone, nobody wants to know.
        let _ = socket::offer_text(&starter, &text);
    }
    end()
}

fn end() -> ! {
    // SAFETY: no destructor of the program's may run here.
    unsafe { libc::_exit(0) }
}

/// Leaves whoever has started it; the socket to it, which was standard input.
fn become_nobodys() -> OwnedFd {
    // SAFETY: system calls in a process that has one thread, and nothing but descriptors
    // that are not its own.
    unsafe {
        let kept = libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 3);
        // Its starter waits for this process, and has no other child for it.
        if kept < 0 || libc::fork() != 0 {
            end();
        }
        libc::setsid();
        libc::close_range(kept as u32 + 1, u32::MAX, 0);
        libc::close_range(0, kept as u32 - 1, 0);
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        // The lowest numbers are taken by what does no harm when it is written to.
        for _ in 0..3 {
            let null = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty());
            null.into_iter().for_each(core::mem::forget);
        }
        core::mem::forget(Blocked::all());
        OwnedFd::from_raw_fd(kept)
    }
}

struct Ready {
    engine: &'static Engine,
    listener: OwnedFd,
    memory: ViewedMemory,
    len: usize,
}

fn begin(starter: &OwnedFd, thread_starts: fn()) -> Result<Ready, String> {
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    let mut words = wanted.split(':');
    if words.next() != Some(VERSION.to_string().as_str()) {
        return Err("it was started by another version of Outcore".to_owned());
    }
    let strange = || format!("{VARIABLE}={wanted} is not understood");
    let len: usize = words.next().and_then(|len| len.parse().ok()).ok_or_else(strange)?;
    let shares = match words.next() {
        Some(OWN) => false,
        Some(SHARED) => true,
        _ => return Err(strange()),
    };
    let settings = Settings::from_env()?.ok_or("no budget was given")?;
    let store = match (settings.store, std::env::var_os("OUTCORE_STORE")) {
        // A directory's name need not be text.
        (StorePlace::Directory(_), Some(place)) => StorePlace::Directory(place.into()),
        (place, _) => place,
    };
    let listener = match socket::receive(starter, RecvFlags::empty()) {
        Ok(Received::Packet(Packet::Hello { version: VERSION }, Some(listener))) => listener,
        _ => return Err("its starter did not send a socket".to_owned()),
    };
    let share = if shares { Some(receive_budget(starter)?) } else { None };
    let settings = Settings { store, scope: Scope::Areas, status: None, trace: None, share, ..settings };
    for resource in [Resource::Nofile, Resource::Fsize] {
        let limit = getrlimit(resource);
        // Refused, fewer members find room, or the memory is refused below.
        let _ = setrlimit(resource, Rlimit { current: limit.maximum, ..limit });
    }
    this_is_the_program();
    let strict = settings.commit == Commit::Strict;
    let voice = Voice::Instance(Told::new());
    let engine = Engine::new(settings, None, thread_starts, voice).map_err(|error| error.to_string())?;
    let engine: &'static Engine = Box::leak(Box::new(engine));
    if strict && !engine.promise(len as u64) {
        return Err(format!("the store has no room to promise {len} bytes: give it more"));
    }
    let (_unused, link) = Link::pair().map_err(|error| format!("no sockets: {error}"))?;
    instance::begin(engine, link).map_err(|error| error.to_string())?;
    let memory = ViewedMemory::sealed(NAME, len as u64)
        .map_err(|error| format!("no shared memory of {len} bytes: {error}"))?;
    let _ = rustix::process::chdir("/");
    Ok(Ready { engine, listener, memory, len })
}

/// What it had of a budget others may have.
fn leave_budget(engine: &Engine) {
    let core = engine.lock_core();
    core.live.iter().filter_map(|live| live.tree.as_ref()).for_each(Tree::leave);
}

fn receive_budget(starter: &OwnedFd) -> Result<Budget, String> {
    let received = match socket::receive(starter, RecvFlags::empty()) {
        Ok(Received::Packet(Packet::Budget, Some(ledger))) => Budget::received(ledger),
        _ => None,
    };
    received.ok_or_else(|| "its starter did not send the budget that it is to share".to_owned())
}

fn serve(
    engine: &'static Engine,
    starter: OwnedFd,
    listener: OwnedFd,
    memory: ViewedMemory,
    len: usize,
) -> Result<(), (OwnedFd, String)> {
    let range = match views::reserve(len) {
        Ok(addr) => pages_of(addr, len),
        Err(error) => return Err((starter, format!("no {len} bytes of addresses: {error}"))),
    };
    // Who serves finds out by it that the starter has hung up.
    let kept = match rustix::io::fcntl_dupfd_cloexec(&starter, 3) {
        Ok(kept) => kept,
        Err(error) => return Err((starter, format!("no descriptor: {error}"))),
    };
    let members = match Members::new(memory, range, listener, kept) {
        Ok(members) => members,
        Err(error) => return Err((starter, format!("no epoll: {error}"))),
    };
    let mut core = engine.lock_core();
    let Core { pager, live: Some(live), .. } = &mut *core else { end() };
    pager.add_area(range, Rights::ReadWrite);
    live.members = Some(members);
    drop(core);
    let told = socket::offer(&starter, Packet::Done { errno: 0 }, None);
    drop(starter);
    if told.is_ok() {
        serve::serve(engine, None, None);
        // Writes that are under way go to a file without a name, which ends with this process.
    }
    // The memory goes first, and then the part of the budget that it had.
    drop(engine.lock_core().live.as_mut().and_then(|live| live.members.take()));
    leave_budget(engine);
    end()
}
