//! Which of our addresses each remote address asked: an answer from another one would not be taken for one.

use std::collections::HashMap;
use std::mem;
use std::net::{IpAddr, SocketAddr};

/// Remote addresses in one generation. Anyone can write any address on a datagram, so there are at most twice as many.
const GENERATION_MAX: usize = 32_768;

/// The address that each remote address asked lately. Those that did not for long are forgotten, and answered from where the
/// system thinks best.
#[derive(Debug, Default)]
pub(super) struct Locals {
    young: HashMap<SocketAddr, IpAddr>,
    old: HashMap<SocketAddr, IpAddr>,
}

impl Locals {
    pub fn get(&self, remote: SocketAddr) -> Option<IpAddr> {
        self.young.get(&remote).or_else(|| self.old.get(&remote)).copied()
    }

    /// `None` = the system may choose.
    pub fn set(&mut self, remote: SocketAddr, local: Option<IpAddr>) {
        let Some(local) = local else {
            self.young.remove(&remote);
            self.old.remove(&remote);
            return;
        };
        if self.young.len() >= GENERATION_MAX && !self.young.contains_key(&remote) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(remote, local);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_ask_stay_known_and_a_flood_is_forgotten() {
        let mut locals = Locals::default();
        let address = |number: usize| SocketAddr::from(((number as u32 + 1).to_be_bytes(), 5_683));
        let local = IpAddr::from([192, 0, 2, 1]);
        for number in 0..GENERATION_MAX * 4 {
            locals.set(address(number), Some(local));
            locals.set(address(usize::MAX >> 33), Some(local));
        }
        assert_eq!(locals.get(address(usize::MAX >> 33)), Some(local));
        assert_eq!(locals.get(address(0)), None);
        assert!(locals.young.len() + locals.old.len() <= GENERATION_MAX * 2);
        locals.set(address(usize::MAX >> 33), None);
        assert_eq!(locals.get(address(usize::MAX >> 33)), None);
    }
}
