//! A socket that takes datagrams, many in one call, and knows which of our addresses each of them was sent to.

use super::locals::Locals;
use crate::address::Address;
use althing_core::door::{Datagrams, Source};
use bytes::{Bytes, BytesMut};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg, setsockopt,
    sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Datagrams that one call takes in: enough that the call costs each of them little, few enough to be fair.
const DATAGRAMS_A_CALL: usize = 32;

/// Datagrams that one call gives out (`UIO_MAXIOV` is 1,024).
const SENT_A_CALL: usize = 256;

/// No datagram is longer.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// Bytes that the kernel keeps for us in each direction: what comes while a tick runs, and what leaves at its end.
const SOCKET_BUFFER_BYTES: usize = 1 << 20;

/// A socket that takes datagrams.
#[derive(Debug)]
pub struct DoorSocket {
    socket: UdpSocket,
    address: Address,
    /// `None` where all datagrams come to the one address that the socket is bound to.
    locals: Option<Locals>,
}

/// One datagram that came.
#[derive(Debug)]
pub(super) struct Received {
    pub source: Source,
    pub datagram: Bytes,
}

/// Memory for datagrams that come, shared by the doors of a shard; pages that nothing is ever written to cost nothing.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    copied: BytesMut,
}

impl DoorSocket {
    /// Takes the address; must be called inside [`run`](crate::run).
    ///
    /// # Errors
    /// What the system says, most often that the address is in use; a path is no place for datagrams.
    pub fn bind(address: &Address) -> io::Result<Self> {
        let Address::Tcp(wanted) = address else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "datagrams need an address with a port"));
        };
        let socket = Socket::new(Domain::for_address(*wanted), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if wanted.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // The system may give less; datagrams are lost sooner then.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        let locals = wanted.ip().is_unspecified().then(Locals::default);
        if locals.is_some() {
            match wanted.is_ipv6() {
                false => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
                true => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
            }
        }
        socket.bind(&(*wanted).into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        let address = Address::Tcp(socket.local_addr()?);
        Ok(Self { socket, address, locals })
    }

    /// The address, with the port that was chosen where 0 was asked for.
    pub fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn poll_receive_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_recv_ready(cx)
    }

    /// Takes what has come, in order. An error is an earlier datagram's that did not arrive: not this socket's end.
    pub(super) fn receive(&mut self, inbox: &mut Inbox, received: &mut Vec<Received>) -> io::Result<()> {
        let Inbox { bytes, copied } = inbox;
        bytes.resize(DATAGRAMS_A_CALL * DATAGRAM_BYTES_MAX, 0);
        let locals = &mut self.locals;
        let fd = self.socket.as_raw_fd();
        self.socket.try_io(Interest::READABLE, || {
            let mut slices: Vec<_> =
                bytes.chunks_exact_mut(DATAGRAM_BYTES_MAX).map(|chunk| [IoSliceMut::new(chunk)]).collect();
            let space = locals.is_some().then(|| nix::cmsg_space!(libc::in6_pktinfo));
            // The system writes into the headers how long everything has become: they are good for one call.
            let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(slices.len(), space);
            for message in recvmmsg(fd, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)? {
                let Some(remote) = message.address.as_ref().and_then(socket_address) else { continue };
                let mut source = Source::plain(remote);
                if let (Some(locals), Ok(controls)) = (locals.as_mut(), message.cmsgs()) {
                    let local = controls.into_iter().find_map(local_address);
                    source.is_multicast = local.is_some_and(|local| local.to_canonical().is_multicast());
                    locals.set(remote, local.filter(|_| !source.is_multicast));
                }
                copied.extend_from_slice(message.iovs().next().unwrap_or_default());
                received.push(Received { source, datagram: copied.split().freeze() });
            }
            Ok(())
        })
    }

    /// Sends all of them, in order, from where each remote address has asked; returns how many bytes left. What the socket
    /// does not take is lost, as datagrams may be.
    pub(super) fn send(&mut self, datagrams: &Datagrams) -> u64 {
        let mut sent = 0;
        let mut run = Run::default();
        for (remote, datagram) in datagrams.iter() {
            let local = self.locals.as_ref().and_then(|locals| locals.get(remote));
            if local != run.local || run.slices.len() == SENT_A_CALL {
                sent += self.send_run(&run);
                run = Run { local, ..Run::default() };
            }
            run.slices.push([IoSlice::new(datagram)]);
            run.remotes.push(Some(remote.into()));
        }
        sent + self.send_run(&run)
    }

    fn send_run(&self, run: &Run<'_>) -> u64 {
        let (mut sent, mut first) = (0, 0);
        let (v4, v6) = (run.local.and_then(packet_info_v4), run.local.and_then(packet_info_v6));
        let control = match (self.is_ipv6(), &v4, &v6) {
            (false, Some(info), _) => Some(ControlMessage::Ipv4PacketInfo(info)),
            (true, _, Some(info)) => Some(ControlMessage::Ipv6PacketInfo(info)),
            _ => None,
        };
        while first < run.slices.len() {
            let space = control.is_some().then(|| match self.is_ipv6() {
                false => nix::cmsg_space!(libc::in_pktinfo),
                true => nix::cmsg_space!(libc::in6_pktinfo),
            });
            let (slices, remotes) = (&run.slices[first..], &run.remotes[first..]);
            let mut headers = MultiHeaders::preallocate(slices.len(), space);
            let fd = self.socket.as_raw_fd();
            match sendmmsg(fd, &mut headers, slices, remotes, control.as_slice(), MsgFlags::MSG_DONTWAIT) {
                Ok(results) => {
                    let count = results.count();
                    sent += slices[..count].iter().map(|[slice]| slice.len() as u64).sum::<u64>();
                    first += count;
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                // This one cannot go where it is meant to; the next one may.
                Err(_) => first += 1,
            }
        }
        sent
    }

    fn is_ipv6(&self) -> bool {
        matches!(self.address, Address::Tcp(SocketAddr::V6(_)))
    }
}

/// Datagrams that leave from the same address of ours.
#[derive(Default)]
struct Run<'a> {
    local: Option<IpAddr>,
    slices: Vec<[IoSlice<'a>; 1]>,
    remotes: Vec<Option<SockaddrStorage>>,
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || address.as_sockaddr_in().map(|it| SocketAddr::V4(SocketAddrV4::from(*it)));
    let v6 = || address.as_sockaddr_in6().map(|it| SocketAddr::V6(SocketAddrV6::from(*it)));
    v4().or_else(v6)
}

fn local_address(control: ControlMessageOwned) -> Option<IpAddr> {
    match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into()),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into()),
        _ => None,
    }
}

fn packet_info_v4(local: IpAddr) -> Option<libc::in_pktinfo> {
    let IpAddr::V4(local) = local else { return None };
    let ipi_spec_dst = libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
    Some(libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst, ipi_addr: libc::in_addr { s_addr: 0 } })
}

fn packet_info_v6(local: IpAddr) -> Option<libc::in6_pktinfo> {
    let IpAddr::V6(local) = local else { return None };
    Some(libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: local.octets() }, ipi6_ifindex: 0 })
}
