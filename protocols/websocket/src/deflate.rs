//! Compressed messages: permessage-deflate (RFC 7692).
//!
//! Every message stands for itself (`no_context_takeover` on both sides), so nothing is kept between two of them and an
//! idle connection has no state. The machines themselves, 50 to 300 KiB each, are shared by all connections.

use crate::extension::Extension;
use crate::frame::FrameError;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The name of the extension.
pub const NAME: &str = "permessage-deflate";

/// The end of every compressed message, which is not sent (RFC 7692 §7.2.1).
const TAIL: [u8; 4] = [0x00, 0x00, 0xFF, 0xFF];

/// What is inflated below this size is no bomb, whatever its ratio.
const RATIO_BYTES_MIN: usize = 64 << 10;

/// Inflated in steps of this size, so that memory is taken when there is something to put into it.
const STEP_BYTES: usize = 16 << 10;

/// Machines at rest, at most of each kind; a message takes one for the time of one call.
const MACHINES_MAX: usize = 4;

/// The machines, shared by everyone. Cheap to clone.
#[derive(Clone, Default)]
pub struct Deflater(Arc<Mutex<Machines>>);

#[derive(Default)]
struct Machines {
    compress: Vec<Compress>,
    decompress: Vec<Decompress>,
}

impl fmt::Debug for Deflater {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deflater")
    }
}

/// What one connection has agreed on. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Deflate {
    deflater: Deflater,
    /// The longest message that this side may compress: within the other side's window, a message that stands for itself
    /// cannot refer to anything beyond it.
    compress_bytes_max: usize,
}

/// How large an inflated message may be.
#[derive(Clone, Copy, Debug)]
pub struct InflateLimits {
    /// Bytes in all.
    pub bytes_max: usize,
    /// Times its compressed size, when it is large.
    pub ratio_max: usize,
}

impl Deflater {
    /// The server's side (RFC 7692 §5.1, §7.1): the first offer that can be met, and what to answer. `None`: no
    /// compression.
    pub fn accept(&self, offers: &[Extension]) -> Option<(Deflate, Extension)> {
        offers.iter().filter(|offer| offer.name == NAME).find_map(|offer| {
            let offered = Parameters::parse(offer)?;
            let mut answer = no_context_takeover();
            if let Some(bits) = offered.server_max_window_bits {
                answer.parameters.push(("server_max_window_bits".to_owned(), Some(bits.to_string())));
            }
            Some((self.within(offered.server_max_window_bits), answer))
        })
    }

    /// What a client of ours offers.
    pub fn offer() -> Extension {
        no_context_takeover()
    }

    /// The client's side: whether what the server has accepted is what was offered (RFC 7692 §7.1).
    pub fn accepted(&self, answer: &Extension) -> Option<Deflate> {
        let parameters = Parameters::parse(answer).filter(|_| answer.name == NAME)?;
        // It was not offered that the client could have a smaller window.
        (parameters.server_no_context_takeover && parameters.client_max_window_bits.is_none())
            .then(|| self.within(None))
    }

    fn within(&self, window_bits: Option<u8>) -> Deflate {
        let compress_bytes_max = window_bits.filter(|bits| *bits < 15).map_or(usize::MAX, |bits| 1 << bits);
        Deflate { deflater: self.clone(), compress_bytes_max }
    }

    /// The lock protects a list that no panic can leave half-changed.
    fn with<R>(&self, act: impl FnOnce(&mut Machines) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Deflate {
    /// The message compressed; `None` when that does not make it smaller.
    pub fn compress(&self, message: &[u8]) -> Option<Vec<u8>> {
        if message.len() > self.compress_bytes_max {
            return None;
        }
        let machine = self.deflater.with(|machines| machines.compress.pop());
        let mut machine = machine.unwrap_or_else(|| Compress::new(Compression::fast(), false));
        let compressed = compress(&mut machine, message);
        machine.reset();
        self.deflater.with(|machines| {
            if machines.compress.len() < MACHINES_MAX {
                machines.compress.push(machine);
            }
        });
        compressed
    }

    /// The message inflated.
    pub fn inflate(&self, message: &[u8], limits: InflateLimits) -> Result<Vec<u8>, FrameError> {
        let machine = self.deflater.with(|machines| machines.decompress.pop());
        let mut machine = machine.unwrap_or_else(|| Decompress::new(false));
        let inflated = inflate(&mut machine, message, limits);
        machine.reset(false);
        self.deflater.with(|machines| {
            if machines.decompress.len() < MACHINES_MAX {
                machines.decompress.push(machine);
            }
        });
        inflated
    }
}

fn compress(machine: &mut Compress, message: &[u8]) -> Option<Vec<u8>> {
    let mut compressed = Vec::with_capacity(message.len());
    machine.compress_vec(message, &mut compressed, FlushCompress::Sync).ok()?;
    // A full vector may lack the rest: it is not smaller then.
    let is_complete = machine.total_in() == message.len() as u64 && compressed.len() < compressed.capacity();
    (is_complete && compressed.ends_with(&TAIL)).then(|| {
        compressed.truncate(compressed.len() - TAIL.len());
        compressed
    })
}

fn inflate(machine: &mut Decompress, message: &[u8], limits: InflateLimits) -> Result<Vec<u8>, FrameError> {
    let mut inflated = Vec::new();
    for part in [message, &TAIL] {
        let mut taken = 0;
        loop {
            inflated.reserve(STEP_BYTES);
            let before = (machine.total_in(), inflated.len());
            let status = machine.decompress_vec(&part[taken..], &mut inflated, FlushDecompress::Sync);
            taken += (machine.total_in() - before.0) as usize;
            if inflated.len() > limits.bytes_max {
                return Err(FrameError::too_big("a message longer than allowed, once it is inflated"));
            }
            if inflated.len() > RATIO_BYTES_MIN.max(message.len().saturating_mul(limits.ratio_max)) {
                return Err(FrameError::too_big("a compressed message that inflates to more than real data does"));
            }
            match status {
                // The last block says that it is the last (RFC 7692 §7.2.3.4); nothing but padding is behind it.
                Ok(Status::StreamEnd) if part[taken..].iter().all(|byte| *byte == 0) || part == TAIL => {
                    return Ok(inflated);
                }
                Ok(Status::StreamEnd) | Err(_) => return Err(FrameError::not_utf8(BAD)),
                Ok(_) if inflated.len() < inflated.capacity() && (machine.total_in(), inflated.len()) == before => {
                    break;
                }
                Ok(_) => {}
            }
        }
        if taken < part.len() {
            return Err(FrameError::not_utf8(BAD));
        }
    }
    Ok(inflated)
}

const BAD: &str = "a compressed message that cannot be inflated (RFC 7692 §7.2.2)";

/// What both sides' messages are held to.
fn no_context_takeover() -> Extension {
    let flag = |name: &str| (name.to_owned(), None);
    let parameters = vec![flag("server_no_context_takeover"), flag("client_no_context_takeover")];
    Extension { name: NAME.to_owned(), parameters }
}

/// The four parameters (RFC 7692 §7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// `Some(None)`: the client can do it, the server says how many.
    client_max_window_bits: Option<Option<u8>>,
}

impl Parameters {
    /// `None` when one is unknown, given twice, or has no value that it may have.
    fn parse(extension: &Extension) -> Option<Self> {
        let mut parameters = Self::default();
        for (name, value) in &extension.parameters {
            match (name.as_str(), value) {
                ("server_no_context_takeover", None) => set(&mut parameters.server_no_context_takeover)?,
                ("client_no_context_takeover", None) => set(&mut parameters.client_no_context_takeover)?,
                ("server_max_window_bits", Some(bits)) if parameters.server_max_window_bits.is_none() => {
                    parameters.server_max_window_bits = Some(window_bits(bits)?);
                }
                ("client_max_window_bits", bits) if parameters.client_max_window_bits.is_none() => {
                    let bits = bits.as_ref().map(|bits| window_bits(bits).ok_or(())).transpose().ok()?;
                    parameters.client_max_window_bits = Some(bits);
                }
                _ => return None,
            }
        }
        Some(parameters)
    }
}

fn set(flag: &mut bool) -> Option<()> {
    (!std::mem::replace(flag, true)).then_some(())
}

/// 8 to 15, without leading zeros.
fn window_bits(text: &str) -> Option<u8> {
    (8..=15).find(|bits| bits.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: InflateLimits = InflateLimits { bytes_max: 1 << 20, ratio_max: 200 };

    fn deflate() -> Deflate {
        Deflater::default().within(None)
    }

    /// What a client hears.
    fn answer(offer: &str) -> Option<String> {
        let offers = Extension::parse_list(offer).unwrap();
        Deflater::default().accept(&offers).map(|(_, answer)| answer.to_string())
    }

    #[test]
    fn an_offer_is_accepted_when_all_its_parameters_can_be_met() {
        let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; client_max_window_bits=9; server_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate; unknown, permessage-deflate; client_no_context_takeover",
        ] {
            assert_eq!(answer(offer).as_deref(), Some(plain), "{offer}");
        }
        let bits = answer("permessage-deflate; server_max_window_bits=10").unwrap();
        assert_eq!(bits, format!("{plain}; server_max_window_bits=10"));
        for offer in [
            "",
            "x-webkit-deflate-frame",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=08",
            "permessage-deflate; client_max_window_bits=0",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        ] {
            assert_eq!(answer(offer), None, "{offer}");
        }
    }

    #[test]
    fn a_client_takes_what_it_has_offered() {
        let accepted = |answer: &str| {
            let answer = Extension::parse_list(answer).unwrap().remove(0);
            Deflater::default().accepted(&answer).is_some()
        };
        assert!(accepted(&Deflater::offer().to_string()));
        assert!(!accepted("permessage-deflate"));
        assert!(!accepted("permessage-deflate; server_no_context_takeover; client_max_window_bits=9"));
        assert!(!accepted("other; server_no_context_takeover"));
    }

    #[test]
    fn the_examples_of_the_specification_are_inflated() {
        // RFC 7692 §7.2.3.1 to §7.2.3.4: one block, no compression, and BFINAL set.
        for message in [
            &[0xF2, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00][..],
            &[0x00, 0x05, 0x00, 0xFA, 0xFF, 0x48, 0x65, 0x6C, 0x6C, 0x6F, 0x00],
            &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x00],
            &[0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00],
        ] {
            assert_eq!(deflate().inflate(message, LIMITS).unwrap(), b"Hello", "{message:02X?}");
        }
        assert_eq!(deflate().inflate(&[0x00], LIMITS).unwrap(), b"");
    }

    #[test]
    fn messages_come_back_and_machines_are_used_again() {
        let deflate = deflate();
        for round in 0..20_usize {
            let message: Vec<u8> =
                (0..round * 7_001).map(|at| b"temperature "[at % 12] ^ ((at / 5_000) as u8)).collect();
            if let Some(compressed) = deflate.compress(&message) {
                assert!(compressed.len() < message.len());
                assert_eq!(deflate.inflate(&compressed, LIMITS).unwrap(), message);
            } else {
                assert!(round == 0, "{round}");
            }
        }
    }

    #[test]
    fn what_does_not_get_smaller_is_not_compressed() {
        let mut entropy = althing_core::Entropy::new(1);
        let noise: Vec<u8> = std::iter::repeat_with(|| entropy.next_u64() as u8).take(5_000).collect();
        assert_eq!(deflate().compress(&noise), None);
        assert_eq!(deflate().compress(b""), None);
        // Within a window of 1 KiB only a message of that size can stand for itself.
        let small = Deflater::default().within(Some(10));
        assert!(small.compress(&[7; 1_024]).is_some());
        assert_eq!(small.compress(&[7; 1_025]), None);
    }

    #[test]
    fn a_bomb_is_refused_before_it_fills_the_memory() {
        let bomb = deflate().compress(&vec![0; 8 << 20]).unwrap();
        assert!(bomb.len() < 64 << 10);
        let too_big = |limits| deflate().inflate(&bomb, limits).unwrap_err().code;
        assert_eq!(too_big(InflateLimits { bytes_max: 1 << 20, ratio_max: usize::MAX }).0, 1009);
        assert_eq!(too_big(InflateLimits { bytes_max: usize::MAX, ratio_max: 100 }).0, 1009);
    }

    #[test]
    fn what_is_no_deflate_is_refused() {
        for message in [
            &[0xFF, 0xFF][..],
            &[0x06],
            &[0x00, 0x05, 0x00, 0x00, 0x00],
            &[0xF3, 0x48, 0xCD, 0xC9, 0xC9, 0x07, 0x00, 0x01, 0x02],
        ] {
            assert_eq!(deflate().inflate(message, LIMITS).unwrap_err().code.0, 1007, "{message:02X?}");
        }
    }
}
