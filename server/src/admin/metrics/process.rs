//! The process as the system sees it, where the system tells (Linux).

use super::page::Page;
use std::fs;

/// Ticks a second in `/proc`: fixed by the interface, whatever the kernel uses inside.
const TICKS_PER_S: f64 = 100.0;

pub fn write(page: &mut Page) {
    if let Some(cpu_s) = cpu_s() {
        page.seconds("process_cpu_seconds", "Processor time", cpu_s);
    }
    if let Some(bytes) = resident_bytes() {
        page.gauge("process_resident_memory_bytes", "Memory that it has", bytes);
    }
    if let Some(threads) = status("Threads:") {
        page.gauge("process_threads", "Threads", threads);
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        // The directory itself is one of them.
        page.gauge("process_open_fds", "File descriptors", descriptors.count().saturating_sub(1));
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if let Some(limit) = limit {
        page.gauge("process_max_fds", "File descriptors that it may have", limit);
    }
}

/// Processor time of the process until now.
pub fn cpu_s() -> Option<f64> {
    cpu_s_of(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Memory that it has.
pub fn resident_bytes() -> Option<u64> {
    status("VmRSS:").map(|kib| kib * 1_024)
}

fn status(name: &str) -> Option<u64> {
    field(&fs::read_to_string("/proc/self/status").ok()?, name)
}

/// User and system time, the 14th and 15th field (proc(5)). The second field may hold blanks and parentheses.
fn cpu_s_of(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_S)
}

/// The first number of a line.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(cpu_s_of(stat), Some(3.0));
        assert_eq!(cpu_s_of("nonsense"), None);
    }

    #[test]
    fn lines_are_found_by_name() {
        let status = "Name:\talthing\nVmRSS:\t  12 kB\nThreads:\t3\n";
        assert_eq!(
            (field(status, "VmRSS:"), field(status, "Threads:"), field(status, "VmSwap:")),
            (Some(12), Some(3), None)
        );
    }
}
