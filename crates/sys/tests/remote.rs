#![expect(unsafe_code, reason = "page faults in another process, on purpose")]
//! What an arena that several processes share relies on: who has the userfaultfd of another
//! process serves its faults, and takes pages out of its mapping. As the other kernel tests,
//! these say what they skip, and fail under CI where the kernel must offer it.

use core::mem::MaybeUninit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::time::Timespec;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, ptr};
use sys::uffd::{
    Access, Cause, Event, EventBuffer, Features, Protect, Register, Source, Stop, Uffd, Waking, probe,
};
use sys::views::{Rights, ViewedMemory};

const PAGE: usize = 4096;
const PAGES: usize = 16;
const LEN: usize = PAGES * PAGE;
const LONG: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };

const WANT: Features = Features::MISSING_SHMEM
    .union(Features::MINOR_SHMEM)
    .union(Features::WP_HUGETLBFS_SHMEM)
    .union(Features::PAGEFAULT_FLAG_WP)
    .union(Features::POISON)
    .union(Features::THREAD_ID);

/// What the member is told to do, and what it answers.
const WRITE: u64 = 1;
const READ: u64 = 2;
const UNMAP: u64 = 3;

/// A process that has the memory mapped, and does to it what it is told.
struct Member {
    pid: libc::pid_t,
    talk: OwnedFd,
    uffd: Uffd,
    view: usize,
}

/// Whether the member keeps a copy of its userfaultfd.
#[derive(PartialEq)]
enum Copy {
    Kept,
    Closed,
}

fn memory() -> Option<ViewedMemory> {
    let refusal = match probe(Source::Device) {
        Ok(offered) if offered.contains(WANT) => {
            return Some(ViewedMemory::sealed(c"test", LEN as u64).unwrap());
        }
        Ok(offered) => format!("this kernel has not {:?}", WANT.difference(offered)),
        Err(error) => format!("/dev/userfaultfd: {error}"),
    };
    assert!(env::var_os("CI").is_none(), "under CI the kernel must offer this: {refusal}");
    eprintln!("SKIPPED: {refusal}");
    None
}

impl Member {
    fn fork(memory: &ViewedMemory, copy: Copy) -> Self {
        let (talk, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        // SAFETY: the child makes system calls only.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "fork failed");
        if pid == 0 {
            drop(talk);
            live(memory, &theirs, copy);
            // SAFETY: leaves without running anything of the parent's.
            unsafe { libc::_exit(0) }
        }
        drop(theirs);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut word = [0; 8];
        recvmsg(&talk, &mut [IoSliceMut::new(&mut word)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        let mut fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let uffd = Uffd::from_fd(fds.next().unwrap().next().unwrap());
        Self { pid, talk, uffd, view: u64::from_ne_bytes(word) as usize }
    }

    fn at(&self, page: usize) -> usize {
        self.view + page * PAGE
    }

    fn begin(&self, what: u64, page: usize, value: u64) {
        let words = [what, self.at(page) as u64, value];
        // SAFETY: words are bytes.
        let bytes = unsafe { core::slice::from_raw_parts(words.as_ptr().cast::<u8>(), 24) };
        assert_eq!(rustix::io::write(&self.talk, bytes), Ok(24));
    }

    /// Whether the member has done it within the time.
    fn answers(&self, patience: Timespec) -> Option<u64> {
        let ready = poll(&mut [PollFd::new(&self.talk, PollFlags::IN)], Some(&patience)).unwrap();
        let mut word = [0; 8];
        (ready == 1 && rustix::io::read(&self.talk, &mut word) == Ok(8)).then(|| u64::from_ne_bytes(word))
    }

    fn answer(&self) -> u64 {
        self.answers(LONG).expect("the member waits")
    }

    /// The fault that the member waits for: the page, access and cause.
    fn fault(&self) -> (usize, Access, Cause) {
        let ready = poll(&mut [PollFd::new(&self.uffd, PollFlags::IN)], Some(&LONG));
        assert_eq!(ready, Ok(1), "nothing was announced");
        let mut events = EventBuffer::new();
        assert_eq!(self.uffd.read_events(&mut events), Ok(1));
        let Event::Fault { addr, access, cause, .. } = events.take(0) else { panic!("not a fault") };
        ((addr - self.view) / PAGE, access, cause)
    }

    fn resume(&self, page: usize, pages: usize) -> (usize, Option<Stop>) {
        // SAFETY: the test knows the bytes.
        let mapped = unsafe { self.uffd.resume(self.at(page), pages * PAGE, Waking::Now) };
        (mapped.done / PAGE, mapped.stop)
    }

    fn protect(&self, page: usize, pages: usize) -> Result<(), Errno> {
        // SAFETY: the test serves who writes.
        unsafe { self.uffd.write_protect(self.at(page), pages * PAGE, Protect::On) }
    }

    fn kill(&self) -> libc::c_int {
        let mut status = 0;
        // SAFETY: our own child.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, &mut status, 0);
        }
        status
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The member's life: makes system calls, and touches what it is told to.
fn live(memory: &ViewedMemory, talk: &OwnedFd, copy: Copy) {
    let Ok(view) = memory.map(0, LEN, Rights::ReadWrite) else { return };
    let Ok((uffd, _)) = Uffd::open(Source::Device, WANT) else { return };
    // SAFETY: the parent serves it.
    if unsafe { uffd.register(view, LEN, Register::MissingMinorAndWriteProtect) }.is_err() {
        return;
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [uffd.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let word = (view as u64).to_ne_bytes();
    if sendmsg(talk, &[IoSlice::new(&word)], &mut control, SendFlags::empty()).is_err() {
        return;
    }
    let mut kept = Some(uffd);
    if copy == Copy::Closed {
        kept = None;
    }
    let mut words = [0u64; 3];
    loop {
        // SAFETY: words are bytes.
        let bytes = unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<u8>(), 24) };
        if rustix::io::read(talk, bytes) != Ok(24) {
            break;
        }
        let [what, addr, value] = words;
        let at: *mut u64 = ptr::with_exposed_provenance_mut(addr as usize);
        // SAFETY: the parent names addresses of the view.
        let answer = match what {
            // SAFETY: an address of the view.
            WRITE => unsafe {
                at.write_volatile(value);
                value
            },
            // SAFETY: as above.
            READ => unsafe { at.read_volatile() },
            // SAFETY: nobody uses it any more.
            _ => unsafe { libc::munmap(at.cast(), LEN) as u64 },
        };
        let _ = rustix::io::write(talk, &answer.to_ne_bytes());
    }
    drop(kept);
}

fn put(memory: &ViewedMemory, page: usize, value: u64) {
    let words = [value; PAGE / 8];
    // SAFETY: a page of our own.
    let (done, result) = unsafe { memory.copy_in((page * PAGE) as u64, words.as_ptr().addr(), PAGE) };
    assert_eq!((done, result), (PAGE, Ok(())));
}

fn first_word(memory: &ViewedMemory, page: usize) -> u64 {
    let words = [const { AtomicU64::new(0) }; PAGE / 8];
    // SAFETY: a page of our own.
    unsafe { memory.copy_out((page * PAGE) as u64, words.as_ptr().addr(), PAGE).unwrap() };
    words[0].load(Ordering::Relaxed)
}

const SHORT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

#[test]
fn pages_are_filled_past_a_member_and_mapped_into_it() {
    let Some(memory) = memory() else { return };
    let member = Member::fork(&memory, Copy::Kept);
    member.begin(READ, 3, 0);
    assert_eq!(member.fault(), (3, Access::Read, Cause::Missing));
    put(&memory, 3, 77);
    put(&memory, 4, 78);
    assert_eq!(member.resume(3, 3), (2, Some(Stop::Again)));
    assert_eq!(member.resume(5, 1), (0, Some(Stop::Absent)));
    assert_eq!(member.answer(), 77);
    member.begin(WRITE, 4, 79);
    assert_eq!(member.answer(), 79);
    assert_eq!(first_word(&memory, 4), 79);
}

#[test]
fn a_page_that_is_in_memory_is_another_members_minor_fault() {
    let Some(memory) = memory() else { return };
    let members = [(); 2].map(|()| Member::fork(&memory, Copy::Kept));
    put(&memory, 0, 5);
    for member in &members {
        member.begin(READ, 0, 0);
        assert_eq!(member.fault(), (0, Access::Read, Cause::Minor));
        assert_eq!(member.resume(0, 1), (1, None));
        assert_eq!(member.answer(), 5);
    }
}

/// Protected everywhere, copied, and punched out: whoever writes meanwhile waits, and
/// faults again at the hole; what has been protected is not when it comes back.
#[test]
fn a_page_leaves_all_members_and_no_write_is_lost() {
    let Some(memory) = memory() else { return };
    let members = [(); 2].map(|()| Member::fork(&memory, Copy::Kept));
    put(&memory, 0, 5);
    // Mapped in one of them: the other has nothing to protect, and is protected.
    assert_eq!(members[0].resume(0, 1), (1, None));
    for member in &members {
        assert_eq!(member.protect(0, 2), Ok(()));
    }
    members[0].begin(WRITE, 0, 6);
    assert_eq!(members[0].fault(), (0, Access::Write, Cause::Protected));
    assert_eq!(first_word(&memory, 0), 5);
    memory.punch(0, 2 * PAGE as u64).unwrap();
    members[0].uffd.wake(members[0].at(0), PAGE).unwrap();
    assert_eq!(members[0].fault(), (0, Access::Write, Cause::Missing));
    put(&memory, 0, 5);
    assert_eq!(members[0].resume(0, 1), (1, None));
    assert_eq!(members[0].answer(), 6);
    members[1].begin(WRITE, 0, 7);
    assert_eq!(members[1].fault(), (0, Access::Write, Cause::Minor));
    assert_eq!(members[1].resume(0, 1), (1, None));
    assert_eq!(members[1].answer(), 7);
    assert_eq!(first_word(&memory, 0), 7);
    // A page that was protected where nothing was.
    members[1].begin(WRITE, 1, 8);
    assert_eq!(members[1].fault(), (1, Access::Write, Cause::Missing));
    put(&memory, 1, 0);
    assert_eq!(members[1].resume(1, 1), (1, None));
    assert_eq!(members[1].answer(), 8);
}

#[test]
fn a_member_that_touches_what_is_lost_dies_of_it() {
    let Some(memory) = memory() else { return };
    let member = Member::fork(&memory, Copy::Kept);
    // SAFETY: nobody wants the bytes.
    unsafe { member.uffd.poison(member.at(2), PAGE).unwrap() };
    member.begin(READ, 2, 0);
    let mut status = 0;
    // SAFETY: our own child.
    unsafe { libc::waitpid(member.pid, &mut status, 0) };
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGBUS, "{status:#x}");
}

#[test]
fn who_has_gone_is_told_from_who_is_there() {
    let Some(memory) = memory() else { return };
    let member = Member::fork(&memory, Copy::Kept);
    assert_eq!(member.protect(0, 1), Ok(()));
    member.begin(UNMAP, 0, 0);
    assert_eq!(member.answer(), 0);
    assert_eq!(member.protect(0, 1), Err(Errno::NOENT));
    let killed = Member::fork(&memory, Copy::Kept);
    killed.kill();
    assert_eq!(killed.protect(0, 1), Err(Errno::SRCH));
    assert_eq!(killed.resume(0, 1), (0, Some(Stop::Gone)));
}

/// What becomes of a member whose server is killed: with a copy of its userfaultfd it waits,
/// without one it reads zeros.
#[test]
fn a_copy_of_the_userfaultfd_keeps_absent_pages_from_being_zeros() {
    let Some(memory) = memory() else { return };
    let close = |member: &mut Member| {
        let pipe = rustix::pipe::pipe().unwrap().0;
        drop(core::mem::replace(&mut member.uffd, Uffd::from_fd(pipe)));
    };
    let mut member = Member::fork(&memory, Copy::Kept);
    close(&mut member);
    member.begin(READ, 0, 0);
    assert_eq!(member.answers(SHORT), None);
    let mut other = Member::fork(&memory, Copy::Closed);
    // The child closes its own after it has sent it.
    other.begin(WRITE, 1, 1);
    assert_eq!(other.fault().0, 1);
    put(&memory, 1, 0);
    assert_eq!(other.resume(1, 1), (1, None));
    assert_eq!(other.answer(), 1);
    close(&mut other);
    other.begin(READ, 0, 0);
    assert_eq!(other.answer(), 0);
}
