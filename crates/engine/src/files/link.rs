//! How descriptors get into the pager thread's table: a pair of sockets.

use core::mem::MaybeUninit;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::io::{IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// One end.
#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
}

/// The most descriptors of one file.
const MOST: usize = 2;

impl Link {
    /// Both ends.
    pub(crate) fn pair() -> Result<(Self, Self), Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self { socket: one }, Self { socket: other }))
    }

    /// Sends copies of descriptors. The other end has them as soon as this returns.
    pub(crate) fn send(&self, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::INVAL);
        }
        sendmsg(&self.socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL).map(drop)
    }

    /// The descriptors that were sent last; fewer if this process may not have so many.
    pub(crate) fn receive(&self) -> Result<[Option<OwnedFd>; MOST], Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        recvmsg(&self.socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut fds = [None, None];
        let messages = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(rights) => Some(rights),
            _ => None,
        });
        for (place, fd) in fds.iter_mut().zip(messages.flatten()) {
            *place = Some(fd);
        }
        Ok(fds)
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_arrive() {
        let (one, other) = Link::pair().expect("sockets");
        let file =
            |name: &str| rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
        let (first, second) = (file("a"), file("b"));
        rustix::io::write(&second, b"xyz").expect("written");
        assert_eq!(other.receive().err(), Some(Errno::AGAIN));
        one.send(&[first.as_fd(), second.as_fd()]).expect("sent");
        one.send(&[first.as_fd()]).expect("sent");
        let [Some(_), Some(theirs)] = other.receive().expect("two") else { panic!("not two") };
        assert_eq!(rustix::fs::fstat(&theirs).expect("open").st_size, 3);
        assert!(matches!(other.receive().expect("one"), [Some(_), None]));
    }
}
