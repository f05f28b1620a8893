//! Resources for learners, as the guided tours of CoAP libraries show them: `/time`, `/other/separate` and
//! `/other/block`. `coap.demo = false` leaves them out.

use super::{Response, Wanted};
use crate::format;
use crate::message::{Code, Message, number};
use althing_core::Now;
use bytes::Bytes;

/// What is wanted of a resource for learners.
#[derive(Clone, Debug, PartialEq)]
pub enum Demo {
    /// The time, from now on every few seconds.
    ObserveTime,
    /// The time, and no more notifications.
    ForgetTime,
    /// An answer that takes its time.
    Separate,
    /// The value of `/other/block`.
    ReadBlock,
    /// A new value for `/other/block`.
    WriteBlock(Bytes),
}

/// The largest value of `/other/block`: enough for 64 of the largest blocks.
pub const BLOCK_BYTES_MAX: usize = 64 << 10;

/// The request for a resource for learners, if the path is that of one.
pub(super) fn request(now: Now, request: &Message) -> Option<Result<Wanted, Response>> {
    let mut path = request.options.all(number::URI_PATH).map(|segment| &segment[..]);
    let path = (path.next(), path.next(), path.next());
    let wanted = match (path, request.code) {
        ((Some(b"time"), None, None), Code::GET) => match request.options.uint(number::OBSERVE) {
            Some(0) => Wanted::Demo(Demo::ObserveTime),
            Some(1) => Wanted::Demo(Demo::ForgetTime),
            _ => Wanted::Response(time(now)),
        },
        ((Some(b"other"), Some(b"separate"), None), Code::GET) => Wanted::Demo(Demo::Separate),
        ((Some(b"other"), Some(b"block"), None), Code::GET) => Wanted::Demo(Demo::ReadBlock),
        ((Some(b"other"), Some(b"block"), None), Code::PUT) => {
            // What is kept must not pin the buffer that it was read into.
            Wanted::Demo(Demo::WriteBlock(Bytes::copy_from_slice(&request.payload)))
        }
        ((Some(b"time"), None, None) | (Some(b"other"), Some(b"separate" | b"block"), None), _) => {
            return Some(Err(Response::error(Code::METHOD_NOT_ALLOWED, "this resource knows no such method")));
        }
        _ => return None,
    };
    Some(Ok(wanted))
}

/// The time of day, as text.
pub(crate) fn time(now: Now) -> Response {
    let seconds = now.wall_ms / 1_000;
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let mut response = text(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"));
    response.options.add_uint(number::MAX_AGE, 1);
    response
}

/// A text as a response.
pub(crate) fn text(text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Code::CONTENT);
    response.options.add_uint(number::CONTENT_FORMAT, u32::from(format::TEXT));
    response.payload = text.into();
    response
}

/// Year, month and day of a number of days since 1 January 1970, in the Gregorian calendar. Years begin in March here,
/// so that the leap day is the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        for (days, date) in [(0, (1970, 1, 1)), (59, (1970, 3, 1)), (11_016, (2000, 2, 29)), (20_780, (2026, 11, 23))] {
            assert_eq!(civil(days), date);
        }
    }
}
