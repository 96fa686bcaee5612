#![expect(unsafe_code, reason = "scribbles over memory that others share, as a hostile member does")]
//! Who does not keep to the rules of shared arenas, or is not to have them.

mod common;
mod members;

use common::{MIB, PAGE, Random, word};
use core::mem::MaybeUninit;
use members::{create, is_over, name, servers_of, words};
use outcore::{Arena, ShareError, SharedError};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind, connect, listen,
    recvmsg, sendmsg, socket_with,
};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

const BUDGET: usize = 8 * MIB;

// As in crates/engine/src/shared/packet.rs.
const HELLO: u64 = 0x616e_6572_6165_636f;
const WELCOME: u64 = HELLO + 1;
const JOIN: u64 = 2;
const DISCARD: u64 = 5;
const VERSION: u64 = 1;
const NOT_OURS: u64 = 1;
const OTHER_VERSION: u64 = 3;

fn address(user: u32, name: &str) -> SocketAddrUnix {
    SocketAddrUnix::new_abstract_name(format!("outcore-arena/{user}/{name}").as_bytes()).expect("it fits")
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn socket() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("a socket")
}

fn packet(words: &[u64]) -> [u8; 128] {
    let mut bytes = [0; 128];
    for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *place = word.to_ne_bytes();
    }
    bytes
}

fn word_of(bytes: &[u8], index: usize) -> u64 {
    bytes.as_chunks().0.get(index).map_or(0, |word| u64::from_ne_bytes(*word))
}

fn send(socket: &OwnedFd, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&fds));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).is_ok()
}

/// What comes, and the descriptor with it; nothing when the other end has hung up.
fn receive(socket: &OwnedFd) -> (Vec<u8>, Option<OwnedFd>) {
    let mut bytes = [0; 2048];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut take = || recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty());
    // A reset is told once, before what was said.
    let got = take().or_else(|_| take()).map_or(0, |got| got.bytes);
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    (bytes[..got].to_vec(), fd)
}

/// A connection that has been welcomed, and the memory.
fn greeted(name: &str) -> (OwnedFd, OwnedFd) {
    let socket = socket();
    connect(&socket, &address(user(), name)).expect("the arena is there");
    assert!(send(&socket, &packet(&[HELLO, VERSION]), None));
    let (bytes, memory) = receive(&socket);
    assert_eq!((word_of(&bytes, 0), word_of(&bytes, 2)), (WELCOME, 0));
    (socket, memory.expect("the memory"))
}

#[test]
fn other_versions_are_told_apart() {
    let name = name("version");
    let arena = create(&name, MIB, BUDGET);
    let newer = socket();
    connect(&newer, &address(user(), &name)).expect("it is there");
    assert!(send(&newer, &packet(&[HELLO, VERSION + 1]), None));
    let (bytes, memory) = receive(&newer);
    let said = [0, 1, 2].map(|index| word_of(&bytes, index));
    assert_eq!((said, memory.is_none()), ([WELCOME, VERSION, OTHER_VERSION], true));
    assert_eq!(receive(&newer).0, []);
    drop(arena);
}

/// What attaching says of someone who has the name and answers so.
fn attached_to(answer: &[u8]) -> ShareError {
    let name = name("strange");
    let listener = socket();
    bind(&listener, &address(user(), &name)).expect("the name is free");
    listen(&listener, 1).expect("it listens");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let guest = accept(&listener).expect("a guest");
            receive(&guest);
            if !answer.is_empty() {
                send(&guest, answer, None);
            }
        });
        Arena::attach(&name).expect_err("it is none")
    })
}

#[test]
fn who_has_the_name_may_be_no_arena() {
    let newer = attached_to(&packet(&[WELCOME, 7, 0, 4096]));
    assert_eq!(newer, ShareError::Arena(SharedError::Version { theirs: 7 }));
    // Without a descriptor, with an impossible verdict, and with words that are none.
    for strange in
        [&packet(&[WELCOME, VERSION, 0, 4096])[..], &packet(&[WELCOME, VERSION, 99]), b"220 hello\n"]
    {
        let error = attached_to(strange);
        assert!(matches!(error, ShareError::Arena(SharedError::Strange { .. })), "{error:?}");
    }
    let error = attached_to(b"");
    assert!(matches!(error, ShareError::Arena(SharedError::NotFound { .. })), "{error:?}");
}

const FOREIGN: &str = "OUTCORE_TEST_FOREIGN";
const TAKEN: &str = "OUTCORE_TEST_TAKEN";

#[test]
fn another_user_cannot_attach() {
    if user() != 0 {
        eprintln!("SKIPPED: only root can be two users");
        return;
    }
    let (foreign, taken) = (name("foreign"), name("taken"));
    let arena = create(&foreign, MIB, BUDGET);
    words(&arena)[0].store(7, Ordering::Relaxed);
    let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (hold, held) = pipe.expect("a pipe");
    let mut nobody = Command::new("/proc/self/exe");
    nobody
        .args(["--exact", "is_another_user", "--ignored", "--nocapture"])
        .env(FOREIGN, &foreign)
        .env(TAKEN, &taken)
        .stdin(hold)
        .stdout(std::process::Stdio::piped())
        .uid(65_534);
    let mut nobody = nobody.spawn().expect("it starts");
    let mut said = std::io::BufReader::new(nobody.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("refused") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut said, &mut line).expect("text") > 0, "it was not refused");
    }
    // The name that it has taken.
    let ours = Arena::attach(&taken).expect_err("it is another user's");
    assert_eq!(ours, ShareError::Arena(SharedError::NotOurs { name: taken.clone() }));
    let exists = Arena::create_shared(&taken, 4096).budget(BUDGET as u64).create();
    assert_eq!(exists.err(), Some(ShareError::Arena(SharedError::Exists { name: taken })));
    drop(held);
    assert!(nobody.wait().expect("it ends").success());
    assert_eq!(arena.stats().expect("numbers").members, 1);
}

#[test]
#[ignore = "is another user, of another test's arena"]
fn is_another_user() {
    let [foreign, taken] = [FOREIGN, TAKEN].map(|name| std::env::var(name).expect("a name"));
    assert_ne!(user(), 0);
    assert!(matches!(Arena::attach(&foreign), Err(ShareError::Arena(SharedError::NotFound { .. }))));
    // Past the library, too.
    let socket = socket();
    connect(&socket, &address(0, &foreign)).expect("anybody may knock");
    send(&socket, &packet(&[HELLO, VERSION]), None);
    let (bytes, memory) = receive(&socket);
    assert_eq!((word_of(&bytes, 0), word_of(&bytes, 2), memory.is_none()), (WELCOME, NOT_OURS, true));
    assert_eq!(receive(&socket).0, []);
    let listener = self::socket();
    bind(&listener, &address(0, &taken)).expect("the name is free");
    listen(&listener, 4).expect("it listens");
    println!("refused");
    let _ = std::io::read_to_string(std::io::stdin());
}

/// Anything said to the server in any order, with descriptors of any kind.
#[test]
fn the_server_outlives_what_it_does_not_understand() {
    let name = name("noise");
    let arena = create(&name, 32 * MIB, BUDGET);
    for (index, place) in words(&arena).iter().enumerate() {
        place.store(word(5, index), Ordering::Relaxed);
    }
    let server = servers_of(&name);
    let seed = 99;
    let mut random = Random(seed);
    let (pipe, _other) = rustix::pipe::pipe().expect("a pipe");
    let null = std::fs::File::open("/dev/null").expect("null");
    let here = std::fs::File::open("/").expect("a directory");
    for _ in 0..300 {
        let (socket, memory) = greeted(&name);
        let fds = [None, Some(pipe.as_fd()), Some(null.as_fd()), Some(here.as_fd()), Some(memory.as_fd())];
        for _ in 0..random.below(6) {
            let words: Vec<u64> = (0..16)
                .map(|_| match random.below(4) {
                    0 => random.next(),
                    1 => u64::MAX - random.next() % 8192,
                    _ => random.next() % 9,
                })
                .collect();
            let bytes = packet(&words);
            let len = if random.below(4) == 0 { random.below(129) } else { 128 };
            // Of what is no member, nothing is dropped: it is refused at the first such packet.
            if !send(&socket, &bytes[..len], fds[random.below(fds.len())]) {
                break;
            }
        }
    }
    assert_eq!(servers_of(&name), server);
    assert_eq!(arena.stats().expect("numbers").members, 1);
    for (index, place) in words(&arena).iter().enumerate() {
        assert_eq!(place.load(Ordering::Relaxed), word(5, index), "word {index} after seed {seed}");
    }
    drop(arena);
    is_over(&name);
}

/// A process of the same user that has got the memory, and does what it can to it: pages are
/// dropped, written and filled past everybody. The arena's bytes are then what they are; but
/// nobody hangs or crashes, and the arena is as good as before once it has gone.
#[test]
fn a_member_that_scribbles_harms_bytes_only() {
    let name = name("hostile");
    let arena = create(&name, 32 * MIB, BUDGET);
    let server = servers_of(&name);
    let (socket, memory) = greeted(&name);
    // The arena cannot be cut off under the others.
    assert_eq!(rustix::fs::ftruncate(&memory, 0), Err(Errno::PERM));
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Random(3);
            let len = 32 * MIB;
            // SAFETY: a new mapping, which nobody else uses.
            let view = unsafe {
                libc::mmap(
                    core::ptr::null_mut(),
                    len,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED,
                    std::os::fd::AsRawFd::as_raw_fd(&memory),
                    0,
                )
            };
            assert_ne!(view, libc::MAP_FAILED);
            while !ends.load(Ordering::Relaxed) {
                let page = random.below(len / PAGE);
                if random.below(2) == 0 {
                    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                    rustix::fs::fallocate(&memory, flags, (page * PAGE) as u64, PAGE as u64).expect("a hole");
                } else {
                    // SAFETY: within the mapping made above.
                    unsafe { view.cast::<u8>().add(page * PAGE).write_volatile(1) };
                }
            }
            // SAFETY: as above.
            unsafe { libc::munmap(view, len) };
        });
        let mut random = Random(8);
        for _ in 0..30_000 {
            words(&arena)[random.below(32 * MIB / 8)].fetch_add(1, Ordering::Relaxed);
        }
        ends.store(true, Ordering::Relaxed);
    });
    drop((socket, memory));
    assert_eq!(servers_of(&name), server);
    arena.discard(0, 32 * MIB).expect("discarded");
    for (index, place) in words(&arena).iter().enumerate() {
        place.store(word(6, index), Ordering::Relaxed);
    }
    for (index, place) in words(&arena).iter().enumerate() {
        assert_eq!(place.load(Ordering::Relaxed), word(6, index), "word {index}");
    }
}

/// A member whose view is not where it says, and that asks for pages that are none.
#[test]
fn a_member_that_lies_about_its_view_is_alone_with_it() {
    let name = name("liar");
    let arena = create(&name, 32 * MIB, BUDGET);
    let liars: Vec<_> = [0x1000, 0x7000_0000_0000, !0xfff]
        .into_iter()
        .map(|addr| {
            let (socket, memory) = greeted(&name);
            // SAFETY: plain system calls; the descriptor is new.
            let uffd = unsafe {
                let raw = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK | 1);
                <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(raw as i32)
            };
            assert!(send(&socket, &packet(&[JOIN, addr]), Some(uffd.as_fd())));
            assert_eq!(receive(&socket).0, [], "it is refused");
            for words in [[DISCARD, 0, u64::MAX], [DISCARD, u64::MAX, 2], [DISCARD, 8192, 1], [DISCARD, 0, 0]]
            {
                send(&socket, &packet(&words), None);
            }
            (socket, memory, uffd)
        })
        .collect();
    for (index, place) in words(&arena).iter().enumerate() {
        place.store(word(6, index), Ordering::Relaxed);
    }
    for (index, place) in words(&arena).iter().enumerate() {
        assert_eq!(place.load(Ordering::Relaxed), word(6, index), "word {index}");
    }
    assert!(arena.stats().expect("numbers").swap_outs > 0);
    drop(liars);
    drop(arena);
    is_over(&name);
}
