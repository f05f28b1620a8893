//! What both sides agree on about heart-beats ("Heart-beating").

/// Silence of so many heart-beats is the end: the receiver should be tolerant.
pub(crate) const HEART_BEATS_MISSED_MAX: u64 = 2;

/// When to send, so that it arrives within the interval.
pub(crate) fn send_early_ms(interval_ms: u64) -> u64 {
    interval_ms - interval_ms / 4
}

/// The intervals that hold, in milliseconds; 0 = none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeartBeat {
    /// How often the other side sends.
    pub receive_ms: u64,
    /// How often this side does.
    pub send_ms: u64,
}

impl HeartBeat {
    /// Between what this side can send and wants to get, and the other side's header.
    pub fn agree(send_ms: u32, receive_ms: u32, header: Option<&str>) -> Result<Self, &'static str> {
        let (sends_ms, wants_ms) = parse(header.unwrap_or("0,0"))?;
        Ok(Self { receive_ms: slower(sends_ms, u64::from(receive_ms)), send_ms: slower(u64::from(send_ms), wants_ms) })
    }
}

/// `cx,cy` or `sx,sy`: what that side can send, and what it wants to get.
fn parse(header: &str) -> Result<(u64, u64), &'static str> {
    const WRONG: &str = "heart-beat is two numbers of milliseconds with a comma between";
    let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().map_err(|_| WRONG),
        false => Err(WRONG),
    };
    let (sends, wants) = header.split_once(',').ok_or(WRONG)?;
    Ok((number(sends)?, number(wants)?))
}

/// What one side can and the other wants, unless either says never.
fn slower(can_ms: u64, wants_ms: u64) -> u64 {
    if can_ms == 0 || wants_ms == 0 { 0 } else { can_ms.max(wants_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_can_and_wants_holds_and_never_wins() {
        for (header, receive_ms, send_ms) in [
            (None, 0, 0),
            (Some("0,0"), 0, 0),
            (Some("500,0"), 10_000, 0),
            (Some("20000,0"), 20_000, 0),
            (Some("0,500"), 0, 1_000),
            (Some("0,5000"), 0, 5_000),
        ] {
            assert_eq!(HeartBeat::agree(1_000, 10_000, header), Ok(HeartBeat { receive_ms, send_ms }), "{header:?}");
        }
        for header in ["", ",", "1", "1,", "a,b", "-1,0", "1,2,3", "+1,0", "99999999999999999999,0"] {
            assert!(HeartBeat::agree(1_000, 10_000, Some(header)).is_err(), "{header}");
        }
    }
}
