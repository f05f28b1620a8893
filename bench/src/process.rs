//! What a process has cost: processor time and resident memory, as Linux counts them.

use crate::BenchError;
use std::io;

/// A running process.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The broker's process; fails when nothing can be read about it.
    pub fn open(pid: u32) -> Result<Self, BenchError> {
        let process = Self { pid };
        process.cpu_ns()?;
        process.resident_bytes()?;
        Ok(process)
    }

    /// The generator itself.
    pub fn own() -> Self {
        Self { pid: std::process::id() }
    }

    /// Nanoseconds that all its threads, ended ones included, have run, in user space and in the kernel.
    pub fn cpu_ns(&self) -> Result<u64, BenchError> {
        process_clock_ns(self.pid).map_err(|source| BenchError::Process { pid: self.pid, source })
    }

    /// The resident set, exact where the kernel offers `smaps_rollup`: the counter in `status` lags by
    /// some hundred kilobytes on many cores.
    pub fn resident_bytes(&self) -> Result<u64, BenchError> {
        let field = |file: &str, name: &str| -> io::Result<u64> {
            let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.pid))?;
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
        };
        field("smaps_rollup", "Rss:")
            .or_else(|_| field("status", "VmRSS:"))
            .map_err(|source| BenchError::Process { pid: self.pid, source })
    }
}

/// The scheduler's own count. `/proc/PID/stat` has the same number in steps of 10 ms, `schedstat` is not in every
/// kernel and forgets threads that have ended.
#[allow(unsafe_code)]
fn process_clock_ns(pid: u32) -> io::Result<u64> {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write only to the value behind the pointer, which outlives them.
    let outcome = unsafe {
        match libc::clock_getcpuclockid(pid.cast_signed(), &mut clock) {
            0 => libc::clock_gettime(clock, &mut time),
            code => return Err(io::Error::from_raw_os_error(code)),
        }
    };
    match outcome {
        0 => Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Raises RLIMIT_NOFILE so that `connections` fit, and some to spare for the poll and the standard streams.
pub fn reserve_descriptors(connections: usize) -> Result<(), BenchError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = connections as u64 + 64;
    let limits = getrlimit(Resource::Nofile);
    if limits.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: limits.maximum.or(Some(needed)), maximum: limits.maximum };
    let fits = limits.maximum.is_none_or(|maximum| maximum >= needed);
    if fits && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    Err(BenchError::Descriptors { needed, limit: limits.maximum.unwrap_or(u64::MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_has_cost_time_and_memory() {
        let own = Process::own();
        let before = own.cpu_ns().expect("clock");
        assert!(own.resident_bytes().expect("rss") > 100_000);
        assert!(own.cpu_ns().expect("clock") > before);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(matches!(Process::open(u32::MAX / 4), Err(BenchError::Process { .. })));
    }
}
