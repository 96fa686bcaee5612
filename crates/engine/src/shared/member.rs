#![expect(unsafe_code, reason = "maps and unmaps a view, and rings the keeper's bell")]
//! An arena that this process shares.

use crate::PAGE;
use crate::settings::Settings;
use crate::shared::VERSION;
use crate::shared::error::SharedError;
use crate::shared::keeper::{self, Keeper};
use crate::shared::launch;
use crate::shared::name::Name;
use crate::shared::packet::{Packet, Verdict};
use crate::shared::socket::{self, Received};
use crate::signals::Blocked;
use core::sync::atomic::{AtomicBool, Ordering};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, connect};
use std::os::fd::{FromRawFd, RawFd};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use sys::maps::{self, Reservation};
use sys::uffd::{Features, Register, Source, Uffd};
use sys::views::{self, Rights, ViewedMemory};

/// How a process becomes a member.
#[derive(Debug)]
pub(crate) enum Way {
    /// The arena is there.
    Attach,
    /// It is made first.
    Create {
        /// Its bytes.
        len: u64,
        /// What it is to be, but for a budget that is shared.
        settings: Settings,
        /// The ledger of that, valid in the keeper's table.
        ledger: Option<RawFd>,
    },
}

/// The numbers of a shared arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaStats {
    /// Its budget, in bytes.
    pub budget_bytes: u64,
    /// Processes, and attachments of one process, that have it mapped.
    pub members: u64,
    /// Bytes of pages that are in memory for all members.
    pub resident_bytes: u64,
    /// Bytes of pages that are in memory and mapped nowhere.
    pub parked_bytes: u64,
    /// Bytes of pages that are in the store only.
    pub swapped_bytes: u64,
    /// Bytes of the store that are in use.
    pub store_used_bytes: u64,
    /// Faults resolved without a transfer.
    pub minor_faults: u64,
    /// Faults that waited for the store.
    pub major_faults: u64,
    /// Pages read from the store.
    pub swap_ins: u64,
    /// Pages written to the store.
    pub swap_outs: u64,
    /// Pages that were lost: touching them is a bus error.
    pub poisoned_pages: u64,
}

/// What the program and its keeper tell each other.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    pub(crate) request: Mutex<Option<Packet>>,
    pub(crate) answer: Mutex<Option<Packet>>,
    /// The server was killed.
    pub(crate) gone: AtomicBool,
}

/// A view of a shared arena. To be given to [`Membership::detach`]; in a forked child, which has
/// not got it, to be forgotten.
#[derive(Debug)]
pub struct Membership {
    addr: usize,
    len: usize,
    serves_system_calls: bool,
    bell: Reservation,
    talk: Arc<Talk>,
    /// One asks at a time.
    asking: Mutex<()>,
    keeper: JoinHandle<()>,
}

/// What a keeper has when its process is a member.
pub(crate) struct Joined {
    pub(crate) socket: OwnedFd,
    pub(crate) uffd: Uffd,
    pub(crate) bell: Uffd,
    pub(crate) addr: usize,
    pub(crate) len: usize,
    pub(crate) source: Source,
}

impl Membership {
    /// Becomes a member of the arena of that name. Threads that are started call
    /// `thread_starts` first.
    ///
    /// # Errors
    /// See [`SharedError`]; nothing is left then.
    pub fn attach(name: &str, thread_starts: fn()) -> Result<Self, SharedError> {
        Self::begin(Name::new(name)?, Way::Attach, thread_starts)
    }

    /// Everything that has a descriptor is done by the keeper, in a table of its own: neither
    /// the program nor a child that it forks meanwhile ever has one.
    pub(crate) fn begin(name: Name, way: Way, thread_starts: fn()) -> Result<Self, SharedError> {
        let kernel = |what| move |error| SharedError::Kernel(what, error);
        let bell = Reservation::new(PAGE).map_err(kernel("no address space"))?;
        bell.dont_fork().map_err(kernel("madvise"))?;
        let talk = Arc::new(Talk::default());
        let (theirs, bell_addr) = (Arc::clone(&talk), bell.addr());
        let (tell, answer) = sync_channel(1);
        let ledger = if let Way::Create { ledger, .. } = &way { *ledger } else { None };
        let blocked = Blocked::all();
        let keeper = std::thread::Builder::new().name("outcore-keeper".into()).stack_size(256 << 10).spawn(
            move || {
                thread_starts();
                let joined = keeper::own_table(ledger).and_then(|()| join(&name, &way, bell_addr));
                match joined {
                    Ok(joined) => {
                        let facts = (joined.addr, joined.len, joined.source);
                        let keeper = Keeper::new(joined, bell_addr, theirs);
                        let _ = tell.send(Ok(facts));
                        drop(tell);
                        keeper.live();
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            },
        );
        drop(blocked);
        let keeper = keeper.map_err(|error| {
            let error = error.raw_os_error().map_or(Errno::AGAIN, Errno::from_raw_os_error);
            SharedError::Kernel("the arena's thread cannot be started", error)
        })?;
        match answer.recv() {
            Ok(Ok((addr, len, source))) => Ok(Self {
                addr,
                len,
                serves_system_calls: source != Source::UserModeOnly,
                bell,
                talk,
                asking: Mutex::new(()),
                keeper,
            }),
            Ok(Err(error)) => {
                let _ = keeper.join();
                Err(error)
            }
            Err(_) => Err(SharedError::Gone),
        }
    }

    /// Where it begins.
    pub fn addr(&self) -> usize {
        self.addr
    }

    /// Its bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: it has at least a page.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether system calls, too, wait for pages that are not in memory; else they fail
    /// with `EFAULT` there.
    pub fn serves_system_calls(&self) -> bool {
        self.serves_system_calls
    }

    /// Whether the arena's server was killed: what was not in memory is lost, and what is
    /// stays there.
    pub fn is_orphaned(&self) -> bool {
        self.talk.gone.load(Ordering::Acquire)
    }

    fn ask(&self, packet: Packet) -> Result<Packet, SharedError> {
        let _blocked = Blocked::all();
        let _one = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        *self.talk.request.lock().unwrap_or_else(PoisonError::into_inner) = Some(packet);
        let bell = self.bell.addr();
        maps::dont_need(bell, PAGE).map_err(|error| SharedError::Kernel("madvise", error))?;
        // SAFETY: the page is ours and readable; the read returns when the keeper has mapped it.
        unsafe { core::ptr::read_volatile(bell as *const u8) };
        let answer = self.talk.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.ok_or(SharedError::Gone)
    }

    /// The arena's numbers now.
    ///
    /// # Errors
    /// [`SharedError::Gone`].
    pub fn stats(&self) -> Result<ArenaStats, SharedError> {
        let Packet::Stats(numbers) = self.ask(Packet::AskStats)? else { return Err(SharedError::Gone) };
        let [budget, members, resident, parked, swapped, store, minor, major, ins, outs, poisoned] = numbers;
        Ok(ArenaStats {
            budget_bytes: budget,
            members,
            resident_bytes: resident,
            parked_bytes: parked,
            swapped_bytes: swapped,
            store_used_bytes: store,
            minor_faults: minor,
            major_faults: major,
            swap_ins: ins,
            swap_outs: outs,
            poisoned_pages: poisoned,
        })
    }

    /// Drops the contents of whole pages, for all members: they read as zeros then.
    ///
    /// # Errors
    /// [`SharedError::Range`], [`SharedError::Gone`], or what fallocate(2) says.
    pub fn discard(&self, offset: usize, len: usize) -> Result<(), SharedError> {
        let whole = offset.is_multiple_of(PAGE) && len.is_multiple_of(PAGE);
        if !whole || len > self.len || offset > self.len - len {
            return Err(SharedError::Range { offset: offset as u64, len: len as u64 });
        }
        if len == 0 {
            return Ok(());
        }
        let discard = Packet::Discard { first: (offset / PAGE) as u64, pages: (len / PAGE) as u64 };
        match self.ask(discard)? {
            Packet::Done { errno: 0 } => Ok(()),
            Packet::Done { errno } => {
                Err(SharedError::Kernel("fallocate", Errno::from_raw_os_error(errno as i32)))
            }
            _ => Err(SharedError::Gone),
        }
    }

    /// Unmaps the arena. If this was its last member, nothing is left of it.
    ///
    /// # Safety
    /// Nobody uses its memory any more.
    pub unsafe fn detach(self) {
        // The addresses stay taken until the server has forgotten them: what it might still do
        // there must not be done to somebody else's memory.
        // SAFETY: the caller's contract.
        let closed = unsafe { views::close_off(self.addr, self.len) };
        // Without a server there is nobody to tell, and the keeper goes.
        let _ = self.ask(Packet::Leave);
        let _ = self.keeper.join();
        if closed.is_ok() {
            // SAFETY: as above.
            unsafe { views::release(self.addr, self.len) };
        }
    }
}

/// What faults of views have to be served with.
const WANT: Features = Features::MISSING_SHMEM
    .union(Features::MINOR_SHMEM)
    .union(Features::WP_HUGETLBFS_SHMEM)
    .union(Features::PAGEFAULT_FLAG_WP)
    .union(Features::THREAD_ID)
    .union(Features::POISON);

fn open_uffd() -> Result<(Uffd, Source), SharedError> {
    let mut last = Errno::NOSYS;
    for source in [Source::Device, Source::Syscall, Source::UserModeOnly] {
        match Uffd::open(source, WANT) {
            Ok((uffd, _)) => return Ok((uffd, source)),
            Err(error) => last = error,
        }
    }
    Err(SharedError::Userfaultfd(last))
}

/// Done by the keeper, in its own table.
fn join(name: &Name, way: &Way, bell_addr: usize) -> Result<Joined, SharedError> {
    let starter = match way {
        Way::Attach => None,
        Way::Create { len, settings, ledger } => {
            // SAFETY: this table's own copy, of which nobody else knows.
            let ledger = ledger.map(|ledger| unsafe { OwnedFd::from_raw_fd(ledger) });
            Some(launch::launch(name, *len, settings, ledger)?)
        }
    };
    let joined = meet(name, bell_addr);
    // From here on the server stays for its members only.
    drop(starter);
    joined
}

fn meet(name: &Name, bell_addr: usize) -> Result<Joined, SharedError> {
    let text = || name.text().to_owned();
    let kernel = |what| move |error| SharedError::Kernel(what, error);
    let none = || SharedError::NotFound { name: text() };
    let (uffd, source) = open_uffd()?;
    let (bell, _) = Uffd::open(source, Features::empty()).map_err(SharedError::Userfaultfd)?;
    let socket = socket::open().map_err(kernel("no socket"))?;
    let address = name.address().map_err(kernel("no socket's name"))?;
    match connect(&socket, &address) {
        Ok(()) => {}
        Err(Errno::CONNREFUSED | Errno::NOENT) => return Err(none()),
        Err(error) => return Err(SharedError::Kernel("the arena's socket", error)),
    }
    if !socket::is_ours(&socket) {
        return Err(SharedError::NotOurs { name: text() });
    }
    let hello = Packet::Hello { version: VERSION };
    // One that hangs up at once has said why, or has ended meanwhile.
    let _ = socket::send(&socket, hello, None);
    let received = socket::receive(&socket, RecvFlags::empty()).map_err(kernel("the arena's socket"))?;
    let (len, memory) = match received {
        Received::Packet(Packet::Welcome { verdict: Verdict::Admitted, len, .. }, Some(memory)) => {
            (len, memory)
        }
        Received::Packet(Packet::Welcome { version, verdict, .. }, _) => {
            return Err(match verdict {
                Verdict::NotOurs => SharedError::NotOurs { name: text() },
                Verdict::Full => SharedError::TooManyMembers,
                Verdict::OtherVersion => SharedError::Version { theirs: version },
                Verdict::Admitted => SharedError::Strange { name: text() },
            });
        }
        Received::End => return Err(none()),
        Received::Packet(..) | Received::Text(_) | Received::Strange => {
            return Err(SharedError::Strange { name: text() });
        }
    };
    let memory = ViewedMemory::received(memory, len).map_err(|_| SharedError::Strange { name: text() })?;
    let len = usize::try_from(len).map_err(|_| SharedError::Size { bytes: len })?;
    let addr = memory.map(0, len, Rights::ReadWrite).map_err(kernel("the arena cannot be mapped"))?;
    let entered = enter(&socket, &uffd, addr, len).and_then(|()| {
        // SAFETY: the bell is the keeper's to answer.
        unsafe { bell.register(bell_addr, PAGE, Register::Missing) }
            .map_err(kernel("the arena's bell cannot be registered with userfaultfd"))
    });
    match entered {
        Ok(()) => Ok(Joined { socket, uffd, bell, addr, len, source }),
        Err(error) => {
            // SAFETY: nobody has been told of it.
            unsafe { views::release(addr, len) };
            Err(error)
        }
    }
}

/// Has the server answer the view's faults.
fn enter(socket: &OwnedFd, uffd: &Uffd, addr: usize, len: usize) -> Result<(), SharedError> {
    // SAFETY: faults there are answered by the server; nothing of it has been touched.
    unsafe { uffd.register(addr, len, Register::MissingMinorAndWriteProtect) }
        .map_err(|error| SharedError::Kernel("the arena cannot be registered with userfaultfd", error))?;
    let join = Packet::Join { addr: addr as u64 };
    socket::send(socket, join, Some(uffd.as_fd())).map_err(|_| SharedError::Gone)?;
    match socket::receive(socket, RecvFlags::empty()) {
        Ok(Received::Packet(Packet::Done { errno: 0 }, _)) => Ok(()),
        _ => Err(SharedError::Gone),
    }
}
