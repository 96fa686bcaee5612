#![expect(unsafe_code, reason = "the userfaultfd ioctls")]
//! userfaultfd(2), with the outcomes told apart.
//!
//! The kernel answers in two places: the ioctl's errno, and a signed out-field that
//! holds either the bytes done or a negated errno. [`Transfer`] is both, decoded.

use crate::errno;
use crate::maps::{self, Presence};
use core::mem::{MaybeUninit, size_of};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const API: u64 = 0xaa;

/// Where a userfaultfd comes from, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `/dev/userfaultfd`: file permission is enough, and faults taken inside system
    /// calls are served.
    Device,
    /// userfaultfd(2): needs `CAP_SYS_PTRACE` or the sysctl; as good as the device.
    Syscall,
    /// userfaultfd(2) for faults in user mode only: for anybody, but a system call on
    /// an absent page fails with `EFAULT`.
    UserModeOnly,
}

bitflags::bitflags! {
    /// `UFFD_FEATURE_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Features: u64 {
        /// Faults say when they are write-protection faults.
        const PAGEFAULT_FLAG_WP = 1;
        /// fork is announced, with the child's userfaultfd.
        const EVENT_FORK = 1 << 1;
        /// mremap is announced.
        const EVENT_REMAP = 1 << 2;
        /// `MADV_DONTNEED` and its like are announced.
        const EVENT_REMOVE = 1 << 3;
        /// Huge pages of hugetlbfs report absent pages.
        const MISSING_HUGETLBFS = 1 << 4;
        /// Shared memory reports absent pages.
        const MISSING_SHMEM = 1 << 5;
        /// munmap is announced.
        const EVENT_UNMAP = 1 << 6;
        /// Faults are signals to the thread, not events.
        const SIGBUS = 1 << 7;
        /// Faults name the thread.
        const THREAD_ID = 1 << 8;
        /// hugetlbfs reports pages that are in the cache but not mapped.
        const MINOR_HUGETLBFS = 1 << 9;
        /// Shared memory reports pages that are in the cache but not mapped.
        const MINOR_SHMEM = 1 << 10;
        /// Faults give the address to the byte.
        const EXACT_ADDRESS = 1 << 11;
        /// Write protection works for hugetlbfs and shared memory.
        const WP_HUGETLBFS_SHMEM = 1 << 12;
        /// Write protection reaches pages that are not there.
        const WP_UNPOPULATED = 1 << 13;
        /// Pages can be poisoned.
        const POISON = 1 << 14;
        /// Write-protection faults resolve themselves.
        const WP_ASYNC = 1 << 15;
        /// Pages can be moved.
        const MOVE = 1 << 16;
        const _ = !0;
    }

    /// How [`Uffd::copy`] copies.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CopyFlags: u64 {
        /// Leave waiting threads asleep.
        const DONT_WAKE = 1;
        /// Map the page write-protected.
        const WRITE_PROTECT = 2;
    }
}

/// Which faults a registered range reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// Touches on absent pages.
    Missing,
    /// Writes to protected pages.
    WriteProtect,
    /// Both.
    MissingAndWriteProtect,
    /// Touches on pages that are not mapped, of memory that is shared: absent ones, and
    /// ones that are there.
    MissingAndMinor,
    /// These and writes to protected pages.
    MissingMinorAndWriteProtect,
}

/// Write protection, on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protect {
    /// Writes fault.
    On,
    /// Writes are free, and those that waited go on.
    Off,
}

/// Why a transfer stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A page is there already.
    Exists,
    /// The page is pinned, or shared with another process.
    Busy,
    /// No source page, or no destination area.
    Absent,
    /// A change of the address space is being announced: read events and try again.
    Again,
    /// The address space is gone.
    Gone,
    /// The areas do not allow it.
    Invalid,
    /// No memory.
    NoMemory,
    /// Something else.
    Other(Errno),
}

/// When threads that wait for a transferred page are woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waking {
    /// By the transfer.
    Now,
    /// By a call of [`Uffd::wake`], which somebody must make.
    Later,
}

/// The side of a move that only the caller touches, and that so shows what has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// What is absent has moved.
    Source,
    /// What is present has moved.
    Destination,
}

/// What a copy or move did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Bytes from the start that are done.
    pub done: usize,
    /// Why it did no more; none when all is done.
    pub stop: Option<Stop>,
}

impl Transfer {
    fn decode(out: i64, len: usize, result: Result<(), Errno>) -> Self {
        let done = usize::try_from(out).unwrap_or(0);
        if done == len {
            return Self { done, stop: None };
        }
        let error = match (result, i32::try_from(out)) {
            (_, Ok(negative @ ..=-1)) => Errno::from_raw_os_error(-negative),
            (Err(error), _) => error,
            (Ok(()), _) => Errno::AGAIN,
        };
        let stop = match error {
            Errno::EXIST => Stop::Exists,
            Errno::BUSY => Stop::Busy,
            Errno::NOENT | Errno::FAULT => Stop::Absent,
            Errno::AGAIN => Stop::Again,
            Errno::SRCH => Stop::Gone,
            Errno::INVAL => Stop::Invalid,
            Errno::NOMEM => Stop::NoMemory,
            other => Stop::Other(other),
        };
        Self { done, stop: Some(stop) }
    }
}

/// What a userfaultfd tells.
#[derive(Debug)]
pub enum Event {
    /// A thread touched a page and waits.
    Fault {
        /// The address, rounded down to its page.
        addr: usize,
        /// Whether it wrote.
        access: Access,
        /// Whether the page is absent, there but not mapped, or protected.
        cause: Cause,
        /// The thread, as gettid(2) names it; 0 without [`Features::THREAD_ID`].
        thread: u32,
    },
    /// The process forked; this serves the child.
    Fork(Uffd),
    /// Pages have moved.
    Remap {
        /// From here.
        from: usize,
        /// To here.
        to: usize,
        /// So many bytes.
        len: usize,
    },
    /// Pages are about to be dropped.
    Remove {
        /// First byte.
        start: usize,
        /// Byte after the last.
        end: usize,
    },
    /// An area has been unmapped.
    Unmap {
        /// First byte.
        start: usize,
        /// Byte after the last.
        end: usize,
    },
    /// A kind of event that this version does not know.
    Unknown(u8),
}

/// What a fault wanted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read.
    Read,
    /// To write.
    Write,
}

/// Why a touch faulted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is no page.
    Missing,
    /// The page is there, in shared memory, and not mapped here.
    Minor,
    /// It is write-protected.
    Protected,
}

/// `struct uffd_msg`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Message {
    event: u8,
    reserved: [u8; 7],
    arg: [u64; 3],
}

const _: () = assert!(size_of::<Message>() == 32);

/// `UFFD_EVENT_FORK`.
const FORK: u8 = 0x13;
/// No event of the kernel's: a fork event whose descriptor has an owner.
const TAKEN: u8 = 0;

/// Room for the events of one read.
pub struct EventBuffer {
    messages: [MaybeUninit<Message>; Self::CAPACITY],
    len: usize,
}

impl core::fmt::Debug for EventBuffer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "EventBuffer({} events)", self.len)
    }
}

impl Default for EventBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl EventBuffer {
    /// Events that one read can give.
    pub const CAPACITY: usize = 64;

    /// Empty.
    pub fn new() -> Self {
        Self { messages: [MaybeUninit::uninit(); Self::CAPACITY], len: 0 }
    }

    /// The event at `index` of the last read. A fork event carries a descriptor, which
    /// the first take owns; taken again, it is [`Event::Unknown`].
    ///
    /// # Panics
    /// If the last read gave fewer events.
    pub fn take(&mut self, index: usize) -> Event {
        assert!(index < self.len, "event {index} of {}", self.len);
        // SAFETY: the first `len` messages were filled in by the kernel.
        let message = unsafe { self.messages[index].assume_init() };
        let [a, b, c] = message.arg;
        let (start, end) = (a as usize, b as usize);
        match message.event {
            0x12 => Event::Fault {
                addr: b as usize & !0xfff,
                access: if a & 1 != 0 { Access::Write } else { Access::Read },
                cause: match a & 6 {
                    0 => Cause::Missing,
                    2 => Cause::Protected,
                    _ => Cause::Minor,
                },
                thread: c as u32,
            },
            FORK => {
                self.messages[index].write(Message { event: TAKEN, ..message });
                // SAFETY: the kernel installed this descriptor for the reader, and the
                // line above keeps a second take from owning it too.
                Event::Fork(Uffd::from_fd(unsafe { OwnedFd::from_raw_fd(a as i32) }))
            }
            0x14 => Event::Remap { from: start, to: end, len: c as usize },
            0x15 => Event::Remove { start, end },
            0x16 => Event::Unmap { start, end },
            other => Event::Unknown(other),
        }
    }
}

/// A userfaultfd, non-blocking.
#[derive(Debug)]
pub struct Uffd {
    fd: OwnedFd,
}

#[repr(C)]
struct ApiArg {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct RangeArg {
    start: u64,
    len: u64,
}

#[repr(C)]
struct RegisterArg {
    range: RangeArg,
    mode: u64,
    ioctls: u64,
}

/// Shared by UFFDIO_COPY and UFFDIO_MOVE.
#[repr(C)]
struct TransferArg {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    out: i64,
}

/// Shared by UFFDIO_POISON, UFFDIO_CONTINUE and UFFDIO_ZEROPAGE.
#[repr(C)]
struct RangeOutArg {
    range: RangeArg,
    mode: u64,
    out: i64,
}

#[repr(C)]
struct ProtectArg {
    range: RangeArg,
    mode: u64,
}

const _: () = assert!(size_of::<ApiArg>() == 24 && size_of::<RangeArg>() == 16);
const _: () = assert!(size_of::<RegisterArg>() == 32 && size_of::<TransferArg>() == 40);
const _: () = assert!(size_of::<RangeOutArg>() == 32 && size_of::<ProtectArg>() == 24);

/// `_IOWR(0xAA, number, T)`; `_IOR` for the ioctls that only read.
const fn request<T>(number: u64, direction: u64) -> u64 {
    direction << 30 | (size_of::<T>() as u64) << 16 | 0xaa << 8 | number
}

const FLAGS: i32 = libc::O_CLOEXEC | libc::O_NONBLOCK;

/// `/dev/userfaultfd`. Whoever has it opens userfaultfds for its own memory by it.
///
/// # Errors
/// What open(2) says.
pub fn device() -> Result<OwnedFd, Errno> {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open("/dev/userfaultfd", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

const READ: u64 = 2;
const READ_WRITE: u64 = 3;

impl Uffd {
    /// Opens one with all of `want`, and says what else the kernel has.
    ///
    /// # Errors
    /// `EINVAL` when a feature is not to be had, `EPERM` when the source or the
    /// feature is not for this user, and whatever open(2) says.
    pub fn open(source: Source, want: Features) -> Result<(Self, Features), Errno> {
        let raw = match source {
            Source::Device => return Self::open_by(device()?.as_fd(), want),
            // SAFETY: plain system calls.
            Source::Syscall => unsafe { libc::syscall(libc::SYS_userfaultfd, FLAGS) as i32 },
            // SAFETY: as above; 1 is UFFD_USER_MODE_ONLY.
            Source::UserModeOnly => unsafe { libc::syscall(libc::SYS_userfaultfd, FLAGS | 1) as i32 },
        };
        Self::shake_hands(raw, want)
    }

    /// The same by `/dev/userfaultfd`, which [`device`] has opened, in whichever process.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_by(device: BorrowedFd<'_>, want: Features) -> Result<(Self, Features), Errno> {
        // SAFETY: USERFAULTFD_IOC_NEW takes flags by value.
        Self::shake_hands(unsafe { libc::ioctl(device.as_raw_fd(), 0xaa00, FLAGS) }, want)
    }

    fn shake_hands(raw: i32, want: Features) -> Result<(Self, Features), Errno> {
        if raw < 0 {
            return Err(errno::last());
        }
        // SAFETY: a new descriptor, owned by nobody else.
        let uffd = Self { fd: unsafe { OwnedFd::from_raw_fd(raw) } };
        let mut arg = ApiArg { api: API, features: want.bits(), ioctls: 0 };
        // SAFETY: the argument is the ioctl's.
        unsafe { uffd.ioctl(request::<ApiArg>(0x3f, READ_WRITE), &mut arg)? };
        Ok((uffd, Features::from_bits_retain(arg.features)))
    }

    /// The userfaultfd behind a descriptor whose handshake is done, as that of a fork event.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Registers a range: its faults wait for this userfaultfd from now on.
    ///
    /// # Errors
    /// What the kernel says: `EINVAL` for memory that cannot be registered, `EBUSY`
    /// for ranges of another userfaultfd.
    ///
    /// # Safety
    /// Somebody must serve the faults, or every thread that touches the range hangs.
    pub unsafe fn register(&self, addr: usize, len: usize, mode: Register) -> Result<(), Errno> {
        let mode = match mode {
            Register::Missing => 1,
            Register::WriteProtect => 2,
            Register::MissingAndWriteProtect => 3,
            Register::MissingAndMinor => 5,
            Register::MissingMinorAndWriteProtect => 7,
        };
        let mut arg = RegisterArg { range: range(addr, len), mode, ioctls: 0 };
        // SAFETY: the argument is the ioctl's; serving is the caller's contract.
        unsafe { self.ioctl(request::<RegisterArg>(0, READ_WRITE), &mut arg) }
    }

    /// Gives a range back to the kernel and wakes who waits in it: absent pages are
    /// zeros from now on.
    ///
    /// # Errors
    /// `EINVAL` for memory that cannot be registered.
    ///
    /// # Safety
    /// No absent page of the range has bytes elsewhere that its owner expects.
    pub unsafe fn unregister(&self, addr: usize, len: usize) -> Result<(), Errno> {
        let mut arg = range(addr, len);
        // SAFETY: the argument is the ioctl's; the zeros are the caller's contract.
        unsafe { self.ioctl(request::<RangeArg>(1, READ), &mut arg) }
    }

    /// Moves whole pages, which leave holes behind, and wakes who waits for them.
    ///
    /// Linux 6.18 can move pages without counting them: when a page is just being
    /// migrated it waits, moves a batch, takes the earlier EAGAIN for the outcome,
    /// tries once more and finds its own work in the way (`move_pages` in
    /// `mm/userfaultfd.c`). So where it reports an obstacle, `witness` is asked what
    /// has really moved.
    ///
    /// # Safety
    /// The bytes of the source must be what the owner of the destination expects
    /// there; nobody may rely on the source afterwards. Nobody but the caller may touch
    /// the side that is the witness; it held no page before if it is the destination,
    /// and all of them if it is the source.
    pub unsafe fn move_pages(
        &self,
        dst: usize,
        src: usize,
        len: usize,
        waking: Waking,
        witness: Witness,
    ) -> Transfer {
        let mode = u64::from(waking == Waking::Later);
        let mut done = 0;
        while done < len {
            // SAFETY: the caller's contract.
            let counted = unsafe { self.transfer(5, dst + done, src + done, len - done, mode) };
            done += counted.done;
            match counted.stop {
                None => break,
                // Where some was done, only the next call tells the reason.
                Some(Stop::Again) if counted.done > 0 => {}
                Some(stop @ (Stop::Exists | Stop::Absent)) => {
                    let uncounted = match witness {
                        Witness::Source => maps::leading(src + done, len - done, Presence::Absent),
                        Witness::Destination => maps::leading(dst + done, len - done, Presence::Present),
                    };
                    if uncounted == 0 {
                        return Transfer { done, stop: Some(stop) };
                    }
                    if waking == Waking::Now {
                        // Cannot fail for a range that pages have just been moved to.
                        let _ = self.wake(dst + done, uncounted);
                    }
                    done += uncounted;
                }
                Some(stop) => return Transfer { done, stop: Some(stop) },
            }
        }
        Transfer { done, stop: None }
    }

    /// Copies whole pages to where none are, and wakes who waits for them.
    ///
    /// # Safety
    /// As [`Self::move_pages`], and the source must be readable.
    pub unsafe fn copy(&self, dst: usize, src: usize, len: usize, flags: CopyFlags) -> Transfer {
        // SAFETY: the caller's contract.
        unsafe { self.transfer(3, dst, src, len, flags.bits()) }
    }

    /// Maps the kernel's shared page of zeros where no page is, and wakes who waits.
    /// The next write replaces it with a page of its own, without a fault to serve.
    ///
    /// # Safety
    /// The owner of the range expects zeros.
    pub unsafe fn zero_page(&self, dst: usize, len: usize) -> Transfer {
        let mut arg = RangeOutArg { range: range(dst, len), mode: 0, out: 0 };
        // SAFETY: the argument is the ioctl's; the zeros are the caller's contract.
        let result = unsafe { self.ioctl(request::<RangeOutArg>(4, READ_WRITE), &mut arg) };
        Transfer::decode(arg.out, len, result)
    }

    /// Maps pages of shared memory that are there and not mapped here, and wakes who waits
    /// for them. [`Stop::Exists`] where one is mapped, [`Stop::Absent`] where none is.
    ///
    /// # Safety
    /// The bytes are those that the owner of the range expects.
    pub unsafe fn resume(&self, dst: usize, len: usize, waking: Waking) -> Transfer {
        // SAFETY: the caller's contract.
        unsafe { self.resume_as(dst, len, waking, Protect::Off) }
    }

    /// The same, write-protected or not.
    ///
    /// # Safety
    /// As [`Self::resume`]. Somebody serves the faults of writers, or the kernel does.
    pub unsafe fn resume_as(&self, dst: usize, len: usize, waking: Waking, protect: Protect) -> Transfer {
        let mode = u64::from(waking == Waking::Later) | u64::from(protect == Protect::On) << 1;
        let mut arg = RangeOutArg { range: range(dst, len), mode, out: 0 };
        // SAFETY: the argument is the ioctl's; the bytes are the caller's contract.
        let result = unsafe { self.ioctl(request::<RangeOutArg>(7, READ_WRITE), &mut arg) };
        Transfer::decode(arg.out, len, result)
    }

    unsafe fn transfer(&self, number: u64, dst: usize, src: usize, len: usize, mode: u64) -> Transfer {
        let mut arg = TransferArg { dst: dst as u64, src: src as u64, len: len as u64, mode, out: 0 };
        // SAFETY: the argument is the ioctl's; the addresses are the caller's contract.
        let result = unsafe { self.ioctl(request::<TransferArg>(number, READ_WRITE), &mut arg) };
        Transfer::decode(arg.out, len, result)
    }

    /// Wakes every thread that waits for a page of the range.
    ///
    /// # Errors
    /// `EINVAL` for an impossible range.
    pub fn wake(&self, addr: usize, len: usize) -> Result<(), Errno> {
        wake(self, addr, len)
    }

    /// Protects a range from writes, or lets it be written again.
    ///
    /// # Errors
    /// `EAGAIN` while a change of the address space is announced, `ENOENT` for
    /// ranges that are not registered so.
    ///
    /// # Safety
    /// Somebody must serve the faults of writers.
    pub unsafe fn write_protect(&self, addr: usize, len: usize, on: Protect) -> Result<(), Errno> {
        let mode = u64::from(on == Protect::On);
        let mut arg = ProtectArg { range: range(addr, len), mode };
        // SAFETY: the argument is the ioctl's.
        unsafe { self.ioctl(request::<ProtectArg>(6, READ_WRITE), &mut arg) }
    }

    /// Makes touches on absent pages bus errors.
    ///
    /// # Errors
    /// `EEXIST` for a page that is there, `EAGAIN` while a change is announced.
    ///
    /// # Safety
    /// The pages must have no bytes that anybody still wants.
    pub unsafe fn poison(&self, addr: usize, len: usize) -> Result<(), Errno> {
        let mut arg = RangeOutArg { range: range(addr, len), mode: 0, out: 0 };
        // SAFETY: the argument is the ioctl's.
        unsafe { self.ioctl(request::<RangeOutArg>(8, READ_WRITE), &mut arg) }
    }

    /// Reads what has been announced, without waiting; how many events there are.
    ///
    /// # Errors
    /// What read(2) says, other than that there is nothing.
    pub fn read_events(&self, events: &mut EventBuffer) -> Result<usize, Errno> {
        events.len = 0;
        let bytes = size_of_val(&events.messages);
        // SAFETY: the messages are as many bytes, which may be uninitialised.
        let room = unsafe {
            core::slice::from_raw_parts_mut(events.messages.as_mut_ptr().cast::<MaybeUninit<u8>>(), bytes)
        };
        match rustix::io::read(&self.fd, room) {
            Ok((read, _)) => events.len = read.len() / size_of::<Message>(),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        Ok(events.len)
    }

    unsafe fn ioctl<T>(&self, request: u64, arg: &mut T) -> Result<(), Errno> {
        // SAFETY: as the caller's.
        unsafe { ioctl(self.as_fd(), request, arg) }
    }
}

/// [`Uffd::wake`], for a thread that has a descriptor of its own.
///
/// # Errors
/// `EINVAL` for an impossible range.
pub fn wake(fd: impl AsFd, addr: usize, len: usize) -> Result<(), Errno> {
    let mut arg = range(addr, len);
    // SAFETY: waking touches no memory.
    unsafe { ioctl(fd.as_fd(), request::<RangeArg>(2, READ), &mut arg) }
}

unsafe fn ioctl<T>(fd: BorrowedFd<'_>, request: u64, arg: &mut T) -> Result<(), Errno> {
    // SAFETY: the caller pairs request and argument.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, core::ptr::from_mut(arg)) };
    if result < 0 { Err(errno::last()) } else { Ok(()) }
}

impl AsFd for Uffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What this kernel offers through `source`.
///
/// # Errors
/// Why it offers nothing.
pub fn probe(source: Source) -> Result<Features, Errno> {
    Uffd::open(source, Features::empty()).map(|(_, features)| features)
}

fn range(addr: usize, len: usize) -> RangeArg {
    RangeArg { start: addr as u64, len: len as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_places_of_an_answer_are_read() {
        let case = |out, result| Transfer::decode(out, 8192, result);
        assert_eq!(case(8192, Ok(())), Transfer { done: 8192, stop: None });
        assert_eq!(case(4096, Err(Errno::AGAIN)), Transfer { done: 4096, stop: Some(Stop::Again) });
        assert_eq!(case(-17, Err(Errno::EXIST)), Transfer { done: 0, stop: Some(Stop::Exists) });
        assert_eq!(case(-16, Err(Errno::BUSY)), Transfer { done: 0, stop: Some(Stop::Busy) });
        assert_eq!(case(0, Err(Errno::SRCH)), Transfer { done: 0, stop: Some(Stop::Gone) });
        // Where both answer, the out-field is the reason and the errno only says "look there".
        assert_eq!(case(-2, Err(Errno::AGAIN)), Transfer { done: 0, stop: Some(Stop::Absent) });
    }

    #[test]
    fn ioctl_numbers_are_those_of_the_kernel() {
        assert_eq!(request::<ApiArg>(0x3f, READ_WRITE), 0xc018_aa3f);
        assert_eq!(request::<TransferArg>(3, READ_WRITE), 0xc028_aa03);
        assert_eq!(request::<RangeArg>(2, READ), 0x8010_aa02);
    }
}
