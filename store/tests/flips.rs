//! Every byte of a store flipped in turn, and every file cut at every length: the data is right, or an error names the
//! file. `ALTHING_STORE_KIB=1024` makes it a campaign.

mod world;

use althing_core::Now;
use althing_core::record::{Load, Loaded, QueueKey, Restored};
use althing_store::disk::{Disk, FileId};
use althing_store::{OpenError, Store};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use world::{Op, World, comparable, options};

const SECTOR_BYTES: usize = 512;

#[test]
fn every_flipped_byte_is_harmless_or_told() {
    let victim = Victim::new();
    let places = victim.places(|file| (0..file.len()).collect());
    let told = victim.damage_each(&places, |file, at| file[at] ^= 1 << (at % 8));
    eprintln!("{} bytes flipped, {told} told", places.len());
    // The rest are spares, tails of recycled segments and what nobody needs any more.
    assert!(told > places.len() / 3, "{told} of {}", places.len());
}

#[test]
fn every_truncation_is_harmless_or_told() {
    let victim = Victim::new();
    let places = victim.places(|file| {
        // Of the zeros at the end, where nothing was ever written, only the length matters: one a sector.
        let used = file.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        (0..used).chain((used..file.len()).step_by(SECTOR_BYTES)).collect()
    });
    let told = victim.damage_each(&places, |file, length| file.truncate(length));
    eprintln!("{} truncations, {told} told", places.len());
    assert!(told > places.len() / 2, "{told} of {}", places.len());
}

/// A store that was closed in order, and what it holds.
struct Victim {
    disk: MemoryDisk,
    now: Now,
    loads: Vec<Load>,
    expected: Everything,
}

/// All that a store says at the start, and all entries of all queues.
type Everything = (Vec<Restored>, Vec<Loaded>);

impl Victim {
    /// All kinds of facts in segments before and behind the checkpoint's beginning, and spares.
    fn new() -> Self {
        let kib = std::env::var("ALTHING_STORE_KIB").map_or(64, |text| text.parse().expect("a number"));
        let mut world = World::new(5);
        let run = |world: &mut World, rounds| {
            for _ in 0..rounds {
                match world.choose() {
                    // It is about damage, not about the ways to end.
                    Op::Crash(_) | Op::Kill | Op::Close => {}
                    op => world.run(op),
                }
            }
        };
        run(&mut world, 120);
        while world.statistics().disk_bytes < (kib - 8_u64) << 10 {
            world.fill(8, 300);
            world.run(Op::Maintain(20));
        }
        run(&mut world, 12);
        world.close();

        let disk = MemoryDisk::copy(world.disk());
        let queues = world.ledger().queues();
        let loads: Vec<Load> =
            queues.map(|(queue, sequences)| Load { queue: queue.clone(), sequences: sequences.collect() }).collect();
        let expected = everything(disk.clone(), world.now(), &loads).expect("it is whole");
        assert_eq!(comparable(expected.0.clone()), comparable(world.ledger().restored()));
        assert!(expected.1.iter().zip(&loads).all(|(found, load)| *found == world.ledger().load(load.clone())));
        let victim = Self { disk, now: world.now(), loads, expected };
        victim.assert_variety();
        victim
    }

    /// There is something of everything that could be lost.
    fn assert_variety(&self) {
        let count = |is: fn(&Restored) -> bool| self.expected.0.iter().filter(|fact| is(fact)).count();
        let in_flight = |fact: &Restored| matches!(fact, Restored::Queue { entries, .. } if entries.iter().any(|entry| entry.number > 0));
        let files = |prefix: &str| self.disk.names.keys().filter(|name| name.starts_with(prefix)).count();
        let counts = [
            count(|fact| matches!(fact, Restored::Session(_))),
            count(|fact| matches!(fact, Restored::Subscription { .. })),
            count(|fact| matches!(fact, Restored::Token { .. })),
            count(|fact| matches!(fact, Restored::Retained(_))),
            count(|fact| matches!(fact, Restored::Queue { queue: QueueKey::Session(_), .. })),
            count(|fact| matches!(fact, Restored::Queue { queue: QueueKey::Group(_), .. })),
            self.expected.0.iter().filter(|fact| in_flight(fact)).count(),
            files("checkpoint-"),
            files("spare-"),
        ];
        assert!(counts.iter().all(|count| *count > 0) && files("segment-") > 4, "{counts:?}");
    }

    /// What `of` says of each file's content, with the file's name.
    fn places(&self, of: impl Fn(&[u8]) -> Vec<usize>) -> Vec<(&str, usize)> {
        self.disk
            .names
            .iter()
            .flat_map(|(name, number)| of(&self.disk.files[*number]).into_iter().map(move |at| (name.as_str(), at)))
            .collect()
    }

    /// Opens the store with one damage at a time; says how many of them it has told.
    fn damage_each(&self, places: &[(&str, usize)], damage: fn(&mut Vec<u8>, usize)) -> usize {
        let threads = thread::available_parallelism().map_or(1, |count| count.get());
        thread::scope(|scope| {
            let tell = move |first| {
                let mine = places.iter().skip(first).step_by(threads);
                mine.filter(|(name, at)| self.is_told(name, *at, damage)).count()
            };
            let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || tell(first))).collect();
            running.into_iter().map(|thread| thread.join().expect("every damage is harmless or told")).sum()
        })
    }

    /// Whether the store tells this damage; otherwise it has everything.
    fn is_told(&self, name: &str, at: usize, damage: fn(&mut Vec<u8>, usize)) -> bool {
        let mut disk = self.disk.clone();
        let number = disk.names[name];
        damage(Arc::make_mut(&mut disk.files[number]), at);
        let outcome = catch_unwind(AssertUnwindSafe(|| everything(disk, self.now, &self.loads)));
        match outcome.unwrap_or_else(|_| panic!("{name}: {at}: it panics")) {
            Ok(found) => {
                assert!(found == self.expected, "{name}: {at}: silent loss");
                false
            }
            Err(OpenError::Corrupt { file, .. } | OpenError::Newer { file, .. } | OpenError::Io { file, .. }) => {
                assert_eq!(file, name, "{at}: the error names another file");
                true
            }
            Err(error) => panic!("{name}: {at}: {error}"),
        }
    }
}

fn everything(disk: MemoryDisk, now: Now, loads: &[Load]) -> Result<Everything, OpenError> {
    let mut store = Store::open(disk, options(), now)?;
    let mut restored = Vec::new();
    store.restore(&mut |fact| restored.push(fact))?;
    let loaded: Result<Vec<_>, _> = loads.iter().map(|load| store.load(load.clone())).collect();
    Ok((restored, loaded?))
}

/// A disk in memory whose clones share what none of them has written.
#[derive(Clone, Debug)]
struct MemoryDisk {
    names: BTreeMap<String, usize>,
    /// By number, which is also the [`FileId`]; they outlive their names.
    files: Vec<Arc<Vec<u8>>>,
}

impl MemoryDisk {
    fn copy(disk: &althing_testkit::SimDisk) -> Self {
        let names = disk.files().into_iter().enumerate().map(|(number, (name, _))| (name, number)).collect();
        let files = disk.files().into_iter().map(|(name, _)| Arc::new(disk.content(&name))).collect();
        Self { names, files }
    }
}

impl Disk for MemoryDisk {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.names.iter().map(|(name, number)| (name.clone(), self.files[*number].len() as u64)).collect())
    }

    fn create(&mut self, name: &str) -> io::Result<FileId> {
        self.files.push(Arc::default());
        self.names.insert(name.to_owned(), self.files.len() - 1);
        Ok(FileId(self.files.len() as u32 - 1))
    }

    fn open(&mut self, name: &str) -> io::Result<FileId> {
        self.names.get(name).map(|number| FileId(*number as u32)).ok_or(io::ErrorKind::NotFound.into())
    }

    fn close(&mut self, _: FileId) {}

    fn read_at(&self, file: FileId, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.files[file.0 as usize].get(offset as usize..).unwrap_or(&[]);
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&mut self, file: FileId, offset: u64, data: &[u8]) -> io::Result<()> {
        let content = Arc::make_mut(&mut self.files[file.0 as usize]);
        let end = offset as usize + data.len();
        content.resize(content.len().max(end), 0);
        content[offset as usize..end].copy_from_slice(data);
        Ok(())
    }

    fn sync(&mut self, _: FileId) -> io::Result<()> {
        Ok(())
    }

    fn drop_cache(&mut self, _: FileId) -> io::Result<()> {
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let number = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.to_owned(), number);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.names.remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn links(&mut self, _: &str) -> io::Result<u64> {
        Ok(1)
    }
}
