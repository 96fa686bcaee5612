//! Packets and descriptors over sockets, and who is at the other end.

use crate::shared::packet::{MOST_TEXT, Packet};
use core::mem::MaybeUninit;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socket_with, sockopt,
};

/// What has come.
#[derive(Debug)]
pub(crate) enum Received {
    /// A packet, with a descriptor or without.
    Packet(Packet, Option<OwnedFd>),
    /// Words for people.
    Text(String),
    /// Something that no member or server sends.
    Strange,
    /// The other end is closed.
    End,
}

/// Texts begin with this byte, which no packet does.
const TEXT: u8 = b'T';

pub(crate) fn open() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Whether the other end belongs to this process's user.
pub(crate) fn is_ours(socket: impl AsFd) -> bool {
    sockopt::socket_peercred(socket).is_ok_and(|peer| peer.uid == rustix::process::geteuid())
}

fn send_bytes(
    socket: impl AsFd,
    bytes: &[u8],
    fd: Option<BorrowedFd<'_>>,
    flags: SendFlags,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: Option<[BorrowedFd<'_>; 1]> = fd.map(|fd| [fd]);
    if let Some(fds) = &fds
        && !control.push(SendAncillaryMessage::ScmRights(fds))
    {
        return Err(Errno::INVAL);
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags | SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Sends a packet, and waits while the other end has not taken what came before.
pub(crate) fn send(socket: impl AsFd, packet: Packet, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    send_bytes(socket, &packet.to_bytes(), fd, SendFlags::empty())
}

/// The same without waiting: one who does not take its answers gets none.
pub(crate) fn offer(socket: impl AsFd, packet: Packet, fd: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    send_bytes(socket, &packet.to_bytes(), fd, SendFlags::DONTWAIT)
}

/// Words for people, as far as they fit; without waiting.
pub(crate) fn offer_text(socket: impl AsFd, text: &str) -> Result<(), Errno> {
    let mut bytes = vec![TEXT];
    bytes.extend(text.bytes().take(MOST_TEXT));
    send_bytes(socket, &bytes, None, SendFlags::DONTWAIT)
}

/// The next that has come.
///
/// # Errors
/// What recvmsg(2) says: `EAGAIN` if nothing has, and waiting was not asked for.
pub(crate) fn receive(socket: impl AsFd, flags: RecvFlags) -> Result<Received, Errno> {
    let mut bytes = [0; MOST_TEXT + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut was_reset = false;
    let got = loop {
        let mut pieces = [IoSliceMut::new(&mut bytes)];
        match recvmsg(&socket, &mut pieces, &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            // It has hung up without reading all; what it has said before comes after that.
            Err(Errno::CONNRESET) if !was_reset => was_reset = true,
            Err(Errno::CONNRESET) => return Ok(Received::End),
            other => break other?,
        }
    };
    // Whatever came with it is owned now, and closed if nobody wants it.
    let mut fds: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let bytes = &bytes[..got.bytes];
    Ok(match (bytes.first(), Packet::from_bytes(bytes)) {
        (None, _) => Received::End,
        (_, Some(packet)) => Received::Packet(packet, fds.pop()),
        (Some(&TEXT), None) => Received::Text(String::from_utf8_lossy(&bytes[1..]).into_owned()),
        _ => Received::Strange,
    })
}
