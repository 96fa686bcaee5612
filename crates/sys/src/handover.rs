//! Descriptors from one process to another that has none of the first's.
//!
//! A forked child copies the descriptors of the program that forked, not those of its
//! pager. So before it forks the program makes an [`Inbox`], and the pager sends there what
//! a child's pager needs. A message waits in a socket until it is taken, whoever has died
//! meanwhile, and the program's table has one descriptor more for that time.

use core::mem::MaybeUninit;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, recvmsg, sendmsg_addr,
    socket_with,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::rand::{GetRandomFlags, getrandom};

/// Descriptors of one message.
pub const MOST: usize = 4;
const KEY: usize = 16;
const NAME: usize = 24;

/// Where an inbox is found, and what a message must begin with to be taken.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    name: [u8; NAME],
    key: [u8; KEY],
}

/// Who has the descriptors that [`send`] has sent there takes them.
#[derive(Debug)]
pub struct Inbox {
    socket: OwnedFd,
    address: Address,
}

fn random<const N: usize>() -> Result<[u8; N], Errno> {
    let mut bytes = [0; N];
    match getrandom(&mut bytes, GetRandomFlags::empty())? {
        all if all == N => Ok(bytes),
        _ => Err(Errno::IO),
    }
}

fn open() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = || socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
    match socket() {
        // The program may have as many descriptors as it may have: one above, for an instant.
        Err(Errno::MFILE) => {
            let limit = getrlimit(Resource::Nofile);
            setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
            let opened = socket();
            setrlimit(Resource::Nofile, limit)?;
            opened
        }
        opened => opened,
    }
}

impl Inbox {
    /// An empty one, with a name in the network namespace of the caller.
    ///
    /// # Errors
    /// What socket(2) and bind(2) say.
    pub fn new() -> Result<Self, Errno> {
        let address = Address { name: random()?, key: random()? };
        let socket = open()?;
        bind(&socket, &SocketAddrUnix::new_abstract_name(&address.name)?)?;
        Ok(Self { socket, address })
    }

    /// Where to send.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Its descriptor.
    pub fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The descriptors that have been sent, in their order. Messages without the key, of
    /// others, are dropped. Does not wait.
    ///
    /// # Errors
    /// What recvmsg(2) says: `EAGAIN` if nothing has been sent.
    pub fn take(&self) -> Result<Vec<OwnedFd>, Errno> {
        loop {
            let mut key = [0; KEY + 1];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut pieces = [IoSliceMut::new(&mut key)];
            let got = recvmsg(&self.socket, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            let mut sent = Vec::with_capacity(MOST);
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    sent.extend(descriptors);
                }
            }
            if got.bytes == KEY && key[..KEY] == self.address.key {
                return Ok(sent);
            }
        }
    }
}

/// Sends descriptors, at most [`MOST`], to where an inbox is. Does not wait.
///
/// # Errors
/// What sendmsg(2) says: `ECONNREFUSED` if there is no inbox in the network namespace of
/// the caller.
///
/// # Panics
/// With more than [`MOST`] descriptors.
pub fn send(to: Address, descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let socket = open()?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)), "too many descriptors");
    let name = SocketAddrUnix::new_abstract_name(&to.name)?;
    sendmsg_addr(socket.as_fd(), &name, &[IoSlice::new(&to.key)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::fstat;

    #[test]
    fn descriptors_arrive_in_order_and_messages_of_others_are_dropped() {
        let inbox = Inbox::new().unwrap();
        assert_eq!(inbox.take().map(|_| ()), Err(Errno::AGAIN));
        let files = [tempfile(), tempfile()];
        let stranger = Address { key: [0; KEY], ..inbox.address() };
        send(stranger, &[files[1].as_fd()]).unwrap();
        send(inbox.address(), &[files[0].as_fd(), files[1].as_fd()]).unwrap();
        let taken = inbox.take().unwrap();
        let number = |file: &OwnedFd| fstat(file).unwrap().st_ino;
        assert_eq!(
            taken.iter().map(number).collect::<Vec<_>>(),
            files.iter().map(number).collect::<Vec<_>>()
        );
        assert_eq!(inbox.take().map(|_| ()), Err(Errno::AGAIN));
        let nowhere = inbox.address();
        drop(inbox);
        assert_eq!(send(nowhere, &[files[0].as_fd()]), Err(Errno::CONNREFUSED));
    }

    fn tempfile() -> OwnedFd {
        rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap()
    }
}
