//! Threads for what must not hold up the event loop: checking passwords, asking others. Bounded, and fair between addresses: each
//! has a lane of its own, whose turn comes as often as that of any other, so that who floods waits behind himself. A lane in
//! which logins fail gets slower.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Something to be done. One that is dropped before has to say so itself to whoever waits for it.
pub trait Job: Send + 'static {
    /// Does it; true counts as a failed login.
    fn run(self) -> bool;

    /// It will not be done: too many wait, or it has waited for too long.
    fn turn_away(self);
}

/// Where jobs come from: an address, or the half of a version 6 one that one customer has. `None` = this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(Option<IpAddr>);

impl Source {
    /// That of a peer.
    pub fn new(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address => address,
        }))
    }
}

/// The threads. They end when this is dropped.
pub struct Workers<J> {
    shared: Arc<Shared<J>>,
}

/// What the threads may have to do.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many threads.
    pub threads: usize,
    /// Jobs that may wait.
    pub waiting_max: usize,
    /// How long each may.
    pub wait_max: Duration,
}

struct Shared<J> {
    lanes: Mutex<Lanes<J>>,
    changed: Condvar,
}

impl<J: Job> Workers<J> {
    /// Starts the threads. They leave the processor to others when it is wanted.
    ///
    /// # Errors
    /// When the system has no thread for us.
    pub fn start(name: &str, bounds: Bounds) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { lanes: Mutex::new(Lanes::new(bounds)), changed: Condvar::new() });
        for _ in 0..bounds.threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(name.to_owned()).spawn(move || {
                const STEP_BACK: i32 = 10;
                // The whole purpose: live traffic goes first. Without the right to it, it is as before.
                let _ = rustix::process::nice(STEP_BACK);
                while let Some(work) = shared.wait() {
                    work.carry_out(&shared);
                }
            })?;
        }
        Ok(Self { shared })
    }

    /// Hands a job to the next thread that is free.
    pub fn submit(&self, source: Source, job: J) {
        let turned_away = self.shared.lock().push(source, job, Instant::now());
        self.shared.changed.notify_one();
        if let Some(job) = turned_away {
            job.turn_away();
        }
    }

    /// Counts a failed login that no thread has seen.
    pub fn failed(&self, source: Source) {
        self.shared.lock().failed(source, Instant::now());
    }
}

impl<J> Drop for Workers<J> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl<J> fmt::Debug for Workers<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workers({} waiting)", self.shared.lock().waiting)
    }
}

impl<J> Shared<J> {
    fn lock(&self) -> MutexGuard<'_, Lanes<J>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next thing to do; `None` when there will be no more.
    fn wait(&self) -> Option<Work<J>> {
        let mut lanes = self.lock();
        loop {
            if lanes.closed {
                return None;
            }
            lanes = match lanes.next(Instant::now()) {
                Next::Work(work) => return Some(work),
                Next::At(at) => {
                    let timeout = at.saturating_duration_since(Instant::now());
                    self.changed.wait_timeout(lanes, timeout).unwrap_or_else(PoisonError::into_inner).0
                }
                Next::Nothing => self.changed.wait(lanes).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// A job whose turn it is, and those that have waited for too long before it.
struct Work<J> {
    source: Source,
    job: Option<J>,
    stale: Vec<J>,
}

impl<J: Job> Work<J> {
    fn carry_out(self, shared: &Shared<J>) {
        self.stale.into_iter().for_each(J::turn_away);
        let Some(job) = self.job else { return };
        // A mistake in a library that computes hashes costs one login, not all of them.
        let failed = catch_unwind(AssertUnwindSafe(|| job.run())).unwrap_or(true);
        if failed {
            shared.lock().failed(self.source, Instant::now());
        }
    }
}

/// What waits, and how it is slowed. Time is an argument.
struct Lanes<J> {
    bounds: Bounds,
    lanes: HashMap<Source, Lane<J>>,
    /// Those of `lanes`, none of them empty, in the order of their turns.
    turns: VecDeque<Source>,
    waiting: usize,
    failures: HashMap<Source, Failures>,
    closed: bool,
}

/// Each with the time since when it waits.
type Lane<J> = VecDeque<(Instant, J)>;

enum Next<J> {
    Work(Work<J>),
    At(Instant),
    Nothing,
}

/// The failed logins of an address, which are forgotten by and by.
#[derive(Clone, Copy, Debug)]
struct Failures {
    count: f64,
    at: Instant,
    /// When its next login may be looked at.
    next: Instant,
}

/// So many failures in a row are mistyped passwords, or one device of a site that keeps trying with an old one, …
const FAILURES_FREE: f64 = 20.0;
/// … and each one above them makes an address wait so much longer from one login to the next, …
const DELAY_STEP: Duration = Duration::from_millis(50);
/// … up to this: honest devices behind the same address still get their turn.
const DELAY_MAX: Duration = Duration::from_secs(1);
/// Half of the failures are forgotten after so many seconds.
const HALF_LIFE_S: f64 = 10.0;
/// Addresses whose failures are counted; an address costs some 60 bytes.
const SOURCES_MAX: usize = 10_000;

impl<J> Lanes<J> {
    fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            failures: HashMap::new(),
            closed: false,
        }
    }

    /// Takes a job, and gives back one that there is no room for: the last of the longest lane.
    fn push(&mut self, source: Source, job: J, now: Instant) -> Option<J> {
        let lane = self.lanes.entry(source).or_default();
        if lane.is_empty() {
            self.turns.push_back(source);
        }
        lane.push_back((now, job));
        self.waiting += 1;
        if self.waiting <= self.bounds.waiting_max {
            return None;
        }
        let longest = self.lanes.iter().max_by_key(|(_, lane)| lane.len()).map(|(source, _)| *source)?;
        self.take(longest, VecDeque::pop_back)
    }

    /// Takes one of a lane, which leaves when it is empty.
    fn take(&mut self, source: Source, take: fn(&mut Lane<J>) -> Option<(Instant, J)>) -> Option<J> {
        let lane = self.lanes.get_mut(&source)?;
        let taken = take(lane);
        if lane.is_empty() {
            self.lanes.remove(&source);
            self.turns.retain(|other| *other != source);
        }
        self.waiting -= usize::from(taken.is_some());
        taken.map(|(_, job)| job)
    }

    fn next(&mut self, now: Instant) -> Next<J> {
        let mut earliest: Option<Instant> = None;
        for _ in 0..self.turns.len() {
            let Some(source) = self.turns.pop_front() else { break };
            self.turns.push_back(source);
            let mut stale = Vec::new();
            while let Some((since, _)) = self.lanes.get(&source).and_then(VecDeque::front)
                && now.saturating_duration_since(*since) > self.bounds.wait_max
            {
                stale.extend(self.take(source, VecDeque::pop_front));
            }
            let due = self.failures.get(&source).map_or(now, |failures| failures.next);
            let job = if due <= now { self.take(source, VecDeque::pop_front) } else { None };
            if job.is_some() {
                self.delay_next(source, now);
            }
            if job.is_some() || !stale.is_empty() {
                return Next::Work(Work { source, job, stale });
            }
            earliest = Some(earliest.map_or(due, |earliest| earliest.min(due)));
        }
        earliest.map_or(Next::Nothing, Next::At)
    }

    /// A login of `source` is looked at: the next one has to wait for as long as its failures say.
    fn delay_next(&mut self, source: Source, now: Instant) {
        if let Some(failures) = self.failures.get_mut(&source) {
            let above = (failures.count_at(now) - FAILURES_FREE).max(0.0);
            failures.next = now + DELAY_STEP.mul_f64(above).min(DELAY_MAX);
        }
    }

    fn failed(&mut self, source: Source, now: Instant) {
        if self.failures.len() >= SOURCES_MAX && !self.failures.contains_key(&source) {
            self.failures.retain(|_, failures| failures.count_at(now) >= 1.0);
            if self.failures.len() >= SOURCES_MAX {
                return;
            }
        }
        let failures = self.failures.entry(source).or_insert(Failures { count: 0.0, at: now, next: now });
        (failures.count, failures.at) = (failures.count_at(now) + 1.0, now);
    }
}

impl Failures {
    fn count_at(&self, now: Instant) -> f64 {
        self.count * 0.5_f64.powf(now.saturating_duration_since(self.at).as_secs_f64() / HALF_LIFE_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { threads: 1, waiting_max: 4, wait_max: Duration::from_secs(8) };

    fn source(last: u8) -> Source {
        Source::new(Some([192, 0, 2, last].into()))
    }

    fn next(lanes: &mut Lanes<u32>, now: Instant) -> Option<u32> {
        match lanes.next(now) {
            Next::Work(work) => work.job,
            Next::At(_) | Next::Nothing => None,
        }
    }

    #[test]
    fn addresses_take_turns() {
        let (mut lanes, now) = (Lanes::new(BOUNDS), Instant::now());
        for (address, job) in [(1, 10), (1, 11), (1, 12), (2, 20)] {
            assert_eq!(lanes.push(source(address), job, now), None);
        }
        let order: Vec<u32> = std::iter::from_fn(|| next(&mut lanes, now)).collect();
        assert_eq!(order, [10, 20, 11, 12]);
        assert!(matches!(lanes.next(now), Next::Nothing));
        assert!(lanes.lanes.is_empty() && lanes.turns.is_empty() && lanes.waiting == 0);
    }

    #[test]
    fn who_has_most_waiting_is_turned_away_first() {
        let (mut lanes, now) = (Lanes::new(BOUNDS), Instant::now());
        for job in 10..14 {
            assert_eq!(lanes.push(source(1), job, now), None);
        }
        assert_eq!(lanes.push(source(1), 14, now), Some(14), "it is full");
        assert_eq!(lanes.push(source(2), 20, now), Some(13), "there is room for somebody else");
        assert_eq!(lanes.waiting, BOUNDS.waiting_max);
    }

    #[test]
    fn what_has_waited_for_too_long_is_turned_away() {
        let (mut lanes, now) = (Lanes::new(BOUNDS), Instant::now());
        lanes.push(source(1), 10, now);
        lanes.push(source(1), 11, now + Duration::from_secs(5));
        let Next::Work(work) = lanes.next(now + Duration::from_secs(9)) else { panic!("there is work") };
        assert_eq!((work.stale, work.job), (vec![10], Some(11)));
    }

    #[test]
    fn an_address_at_which_logins_fail_gets_slower_and_is_forgiven() {
        let (mut lanes, now) = (Lanes::new(BOUNDS), Instant::now());
        for _ in 0..100 {
            lanes.failed(source(1), now);
        }
        for (address, job) in [(1, 10), (1, 11), (2, 20), (2, 21)] {
            lanes.push(source(address), job, now);
        }
        let order: Vec<u32> = std::iter::from_fn(|| next(&mut lanes, now)).collect();
        assert_eq!(order, [10, 20, 21], "others are as fast as before");
        let Next::At(at) = lanes.next(now) else { panic!("one waits") };
        assert_eq!(at, now + DELAY_MAX);
        assert_eq!(next(&mut lanes, at), Some(11));
        let later = now + Duration::from_secs(60);
        lanes.push(source(1), 12, later);
        lanes.push(source(1), 13, later);
        assert_eq!((next(&mut lanes, later), next(&mut lanes, later)), (Some(12), Some(13)));
    }

    #[test]
    fn so_many_addresses_are_counted_and_no_more() {
        let (mut lanes, now) = (Lanes::<u32>::new(BOUNDS), Instant::now());
        let address = |number: usize| Source::new(Some(std::net::Ipv4Addr::from_bits(number as u32).into()));
        for number in 0..SOURCES_MAX + 10 {
            lanes.failed(address(number), now);
        }
        assert_eq!(lanes.failures.len(), SOURCES_MAX);
        lanes.failed(address(SOURCES_MAX + 10), now + Duration::from_secs(60));
        assert_eq!(lanes.failures.len(), 1, "old failures make room");
    }

    #[test]
    fn one_customer_is_one_source() {
        let source = |text: &str| Source::new(Some(text.parse().unwrap()));
        assert_eq!(source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }
}
