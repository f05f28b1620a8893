//! What this disk can do at all: builds, checksums and appends records to a preallocated file and syncs after each
//! batch, one batch at a time. The yardstick for every durable figure.
//!
//! `cargo run --release -p althing-bench --example raw_log -- DIRECTORY --batch 64`

use clap::Parser;
use hdrhistogram::Histogram;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Append and sync, as fast as the disk lets us.
#[derive(Parser)]
struct Arguments {
    /// On the disk to be measured.
    directory: PathBuf,
    /// Records in one write and one sync.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Bytes of a record's content; 32 bytes of header come before it.
    #[arg(long, default_value_t = 256)]
    record_bytes: usize,
    /// How long.
    #[arg(long, default_value_t = 3.0)]
    duration_s: f64,
    /// Length of the file, which is filled before and overwritten again and again.
    #[arg(long, default_value_t = 64 << 20)]
    file_bytes: u64,
}

const HEADER_BYTES: usize = 32;

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let path = arguments.directory.join("raw-log");
    let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
    let zeros = vec![0; 1 << 20];
    for offset in (0..arguments.file_bytes).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()?;

    let content = vec![0x5a; arguments.record_bytes];
    let mut frame = Vec::with_capacity((HEADER_BYTES + content.len()) * arguments.batch);
    let mut syncs = Histogram::<u64>::new_with_bounds(1_000, 60_000_000_000, 3).expect("constant bounds are valid");
    let (mut offset, mut records) = (0, 0_u64);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs_f64(arguments.duration_s) {
        let begun = Instant::now();
        frame.clear();
        for _ in 0..arguments.batch {
            records += 1;
            frame.extend_from_slice(&records.to_le_bytes());
            frame.extend_from_slice(&(content.len() as u64).to_le_bytes());
            frame.extend_from_slice(&u64::from(crc32c::crc32c(&content)).to_le_bytes());
            frame.extend_from_slice(&[0; HEADER_BYTES - 24]);
            frame.extend_from_slice(&content);
        }
        if offset + frame.len() as u64 > arguments.file_bytes {
            offset = 0;
        }
        file.write_all_at(&frame, offset)?;
        file.sync_data()?;
        offset += frame.len() as u64;
        syncs.saturating_record(begun.elapsed().as_nanos() as u64);
    }
    let seconds = started.elapsed().as_secs_f64();
    drop(file);
    std::fs::remove_file(path)?;
    let us = |quantile| syncs.value_at_quantile(quantile) as f64 / 1_000.0;
    println!(
        "{}",
        serde_json::json!({
            "records_per_s": records as f64 / seconds,
            "syncs_per_s": syncs.len() as f64 / seconds,
            "sync_us_p50": us(0.5),
            "sync_us_p99": us(0.99),
        })
    );
    Ok(())
}
