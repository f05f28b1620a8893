//! What must follow from a story. Every check panics with what was expected and what happened.

use super::{Biography, Copy, Holding, Publication, Session, Story};
use althing_core::Guarantee;
use althing_core::time::SECOND_NS;
use std::collections::BTreeMap;

impl Story {
    /// Checks everything. The story must have ended quietly, with every living session connected and drained.
    pub fn check(&self) {
        for station in 0..self.stations.len() {
            for copy in &self.stations[station].copies {
                self.check_copy(station, copy);
            }
            self.check_order(station);
            for session in 0..self.stations[station].sessions.len() {
                for publication in 0..self.publications.len() {
                    self.check_plain(station, session, publication);
                }
                self.check_retained(station, session);
                self.check_snapshot_order(station, session);
            }
        }
        for publication in 0..self.publications.len() {
            self.check_groups(publication);
        }
    }

    /// One copy, by itself: published, authorised, wanted, not late.
    fn check_copy(&self, station: usize, copy: &Copy) {
        let biography = &self.stations[station];
        let published = &self.publications[copy.publication];
        let what = || format!("station {station} got {copy:?} of {published:?}");
        assert_eq!(copy.topic, published.topic, "another topic: {}", what());
        assert!(copy.step >= published.span.begin, "before it was published: {}", what());
        assert!(copy.guarantee <= published.guarantee, "a greater guarantee than the publisher's: {}", what());
        assert!(published.allowed, "its publisher was not authorised: {}", what());
        let readable = self.allows(biography.username.as_deref(), false, &copy.topic);
        assert!(readable, "its subscriber is not authorised: {}", what());

        let session = biography.session_at(copy.step).unwrap_or_else(|| panic!("without a session: {}", what()));
        let holdings = &biography.sessions[session].holdings;
        let live = holdings.iter().any(|one| {
            let wants = one.wants(station, published);
            wants && (one.touches(&published.span) || self.may_have_waited(one, published))
        });
        let stored = holdings.iter().any(|one| self.may_be_snapshot(one, copy.publication));
        assert!(live || copy.retain && stored, "no subscription wanted it: {} of {holdings:?}", what());

        let on_time = !published.is_late && !biography.was_deaf_between(published.span.begin, copy.step);
        if let Some(expiry_s) = published.expiry_s.filter(|_| on_time) {
            let age_ns = copy.mono_ns - published.issued_ns;
            let age_s = (age_ns.saturating_sub(self.rounding_ns) / SECOND_NS) as u32;
            // What had begun to leave before its time was over may be repeated after it.
            assert!(copy.duplicate || age_s < expiry_s, "after its expiry: {}", what());
            if biography.sees_identifiers {
                let left_s = copy.expiry_s.unwrap_or_else(|| panic!("its expiry is lost: {}", what()));
                let right = copy.duplicate || left_s <= expiry_s && left_s >= expiry_s - (age_ns / SECOND_NS) as u32;
                assert!(right, "{age_s} s old, {left_s} s left: {}", what());
            }
        }
    }

    /// Whether the publication may have waited in the queue of this shared subscription for a later member.
    fn may_have_waited(&self, holding: &Holding, published: &Publication) -> bool {
        let sessions = self.stations.iter().flat_map(|biography| &biography.sessions);
        let mut members = sessions.flat_map(|session| &session.holdings).filter(|one| one.filter == holding.filter);
        holding.filter.group().is_some() && members.any(|one| one.touches(&published.span))
    }

    /// Messages of one publisher on one topic with the same guarantees arrive in the order of their publication,
    /// [MQTT-4.6.0-5], [MQTT-4.6.0-6]. What was perhaps published twice does not count, nor do
    /// last values and shared subscriptions.
    fn check_order(&self, station: usize) {
        let biography = &self.stations[station];
        let mut last = BTreeMap::new();
        let mut seen = BTreeMap::new();
        for copy in &biography.copies {
            let published = &self.publications[copy.publication];
            let session = biography.session_at(copy.step);
            let shared =
                biography.sessions.iter().flat_map(|one| &one.holdings).any(|one| one.is_shared_for(published));
            if published.is_will || published.repeatable || shared || copy.retain {
                continue;
            }
            if seen.insert((session, copy.publication), ()).is_some() {
                continue;
            }
            let guarantees = (published.guarantee, copy.guarantee);
            let line = (session, published.station, published.topic.clone(), guarantees);
            let before = last.insert(line, copy.publication);
            assert!(
                before.is_none_or(|before| before < copy.publication),
                "station {station} got publication {} after {before:?}, out of order: {copy:?}",
                copy.publication,
            );
        }
    }

    /// A snapshot never brings a last value that is older than one that the session has had from the same publisher.
    fn check_snapshot_order(&self, station: usize, session: usize) {
        let biography = &self.stations[station];
        if biography.sessions[session].holdings.iter().any(|one| one.options.retain_as_published) {
            return; // live messages look like snapshots
        }
        let retained = |copy: &&Copy| {
            let published = &self.publications[copy.publication];
            published.retain && !published.is_will && !published.repeatable
        };
        let of_session = |copy: &&Copy| biography.session_at(copy.step) == Some(session);
        let copies: Vec<&Copy> = biography.copies.iter().filter(retained).filter(of_session).collect();
        for (place, old) in copies.iter().enumerate().filter(|(_, copy)| copy.retain && !copy.duplicate) {
            let published = &self.publications[old.publication];
            let newer = copies[..place].iter().find(|new| {
                let other = &self.publications[new.publication];
                let same = other.topic == published.topic && other.station == published.station;
                same && new.guarantee == old.guarantee && published.span.is_before(&other.span)
            });
            assert!(newer.is_none(), "station {station}: the last value {old:?} after the newer {newer:?}");
        }
    }

    /// Plain subscriptions: everything that must arrive has, once.
    fn check_plain(&self, station: usize, session: usize, number: usize) {
        let (biography, published) = (&self.stations[station], &self.publications[number]);
        let holdings = &biography.sessions[session].holdings;
        let possible: Vec<&Holding> = holdings
            .iter()
            .filter(|one| one.filter.group().is_none() && one.wants(station, published) && one.touches(&published.span))
            .collect();
        let copies = self.copies_in(station, session, number);
        if holdings.iter().any(|one| one.is_shared_for(published)) || published.is_empty {
            return;
        }
        let what = || {
            format!(
                "publication {number} {published:?}, station {station}, session {session}: {copies:?} of {possible:?}"
            )
        };

        let snapshots = holdings.iter().filter(|one| self.may_be_snapshot(one, number)).count();
        let most = usize::from(!possible.is_empty()) + snapshots;
        let repeated = copies.iter().any(|copy| self.may_repeat(station, published, copy));
        assert!(copies.len() <= most || repeated, "more than {most} copies: {}", what());

        let sure: Vec<&&Holding> = possible.iter().filter(|one| one.covers(&published.span)).collect();
        let Some(wanted) = sure.iter().map(|one| one.options.qos).max() else { return };
        let guarantee = wanted.min(published.guarantee);
        if self.must_arrive(biography, session, published, guarantee) {
            assert!(!copies.is_empty(), "lost: {}", what());
        }
        if sure.len() == possible.len() && snapshots == 0 {
            for copy in &copies {
                assert_eq!(copy.guarantee, guarantee, "another guarantee: {}", what());
                check_flags(&possible, published, copy, biography.sees_identifiers, &what);
            }
        }
    }

    /// Whether a message with this guarantee, surely wanted by this session, must have reached its application.
    fn must_arrive(
        &self,
        biography: &Biography,
        session: usize,
        published: &Publication,
        guarantee: Guarantee,
    ) -> bool {
        let Some(done) = published.span.end.filter(|_| published.certain && published.allowed) else { return false };
        let Some(quiet) = self.quiet_after(done) else { return false };
        if biography.is_uninterrupted(published.span.begin, quiet) {
            return true;
        }
        let waits = guarantee > Guarantee::AtMostOnce && published.expiry_s.is_none();
        waits && biography.sessions[session].end.is_none()
    }

    /// Whether this copy may be one of several: only `AtLeastOnce` is ever repeated, and only over a lost connection.
    fn may_repeat(&self, station: usize, published: &Publication, copy: &Copy) -> bool {
        let lost = self.stations[station].was_lost_between(published.span.begin, copy.step);
        let by_crash = published.forgettable && copy.guarantee == Guarantee::AtMostOnce;
        published.repeatable || by_crash || copy.guarantee == Guarantee::AtLeastOnce && lost
    }

    fn copies_in(&self, station: usize, session: usize, number: usize) -> Vec<&Copy> {
        let biography = &self.stations[station];
        let of_this = biography.copies.iter().filter(|copy| copy.publication == number);
        of_this.filter(|copy| biography.session_at(copy.step) == Some(session)).collect()
    }

    /// Whether this publication may have been a last value when `holding` was made.
    fn may_be_snapshot(&self, holding: &Holding, number: usize) -> bool {
        let published = &self.publications[number];
        let asked = match holding.options.retain_handling {
            0 => true,
            1 => true, // a repeat after a lost session is new again; whether it is, `check_retained` knows
            _ => false,
        };
        let quiet = holding.from.end.and_then(|end| self.quiet_after(end));
        let in_time = quiet.is_none_or(|quiet| published.span.begin <= quiet);
        let replaced = self.publications.iter().any(|other| {
            other.retain
                && other.certain
                && other.allowed
                && other.topic == published.topic
                && published.span.is_before(&other.span)
                && other.span.is_before(&holding.from)
        });
        let eligible = published.retain && !published.is_empty && published.allowed && !holding.refused;
        eligible
            && asked
            && holding.filter.group().is_none()
            && holding.filter.matches(&published.topic)
            && in_time
            && !replaced
    }

    /// A new subscription gets the last value of every topic that it matches, when it is clear which one that is:
    /// from the snapshot or, when it was published meanwhile, perhaps by itself.
    fn check_retained(&self, station: usize, session: usize) {
        let biography = &self.stations[station];
        for holding in &biography.sessions[session].holdings {
            let asks = match holding.options.retain_handling {
                0 => true,
                1 => !holding.is_repeat,
                _ => false,
            };
            if !asks || holding.refused || holding.filter.group().is_some() {
                continue;
            }
            for (number, published) in self.publications.iter().enumerate() {
                if holding.filter.matches(&published.topic) && !published.is_empty {
                    self.check_last_value(station, holding, number);
                }
            }
        }
    }

    fn check_last_value(&self, station: usize, holding: &Holding, number: usize) {
        let (biography, published) = (&self.stations[station], &self.publications[number]);
        let (Some(asked), Some(done)) = (holding.from.end, published.span.end) else { return };
        let Some(quiet) = self.quiet_after(asked.max(done)) else { return };
        let stays = biography.is_uninterrupted(holding.from.begin, quiet);
        let stays = stays && holding.until.is_none_or(|until| until.begin > quiet);
        // A last value that lives for some time only may have ended before the subscription.
        let readable = self.allows(biography.username.as_deref(), false, &published.topic);
        let wanted = !(published.station == station && holding.options.no_local);
        if !stays || !readable || !wanted || published.expiry_s.is_some() || !self.is_last_value(published, quiet) {
            return;
        }
        let before = published.span.is_before(&holding.from);
        let begin = if before { holding.from.begin } else { published.span.begin };
        let got = biography.copies.iter().any(|copy| {
            let in_time = copy.step >= begin && copy.step <= quiet;
            copy.publication == number && in_time && (copy.retain || !before)
        });
        assert!(got, "station {station} did not get the last value {number} {published:?} of {holding:?}");
    }

    /// Whether this was surely the topic's last value at the step `quiet`.
    fn is_last_value(&self, published: &Publication, quiet: u64) -> bool {
        published.retain
            && published.certain
            && published.allowed
            && self.publications.iter().all(|other| {
                std::ptr::eq(other, published)
                    || !other.retain
                    || !other.allowed
                    || other.topic != published.topic
                    || other.span.is_before(&published.span)
                    || other.span.begin > quiet
            })
    }

    /// Shared subscriptions: each group hands a message to one member, §4.8.2.
    fn check_groups(&self, number: usize) {
        let published = &self.publications[number];
        if published.is_empty {
            return;
        }
        let mut groups: BTreeMap<&str, Vec<(&Biography, &Session, &Holding)>> = BTreeMap::new();
        let mut copies = Vec::new();
        for (station, biography) in self.stations.iter().enumerate() {
            for (index, session) in biography.sessions.iter().enumerate() {
                let members: Vec<&Holding> =
                    session.holdings.iter().filter(|one| one.is_shared_for(published)).collect();
                for holding in &members {
                    groups.entry(holding.filter.as_str()).or_default().push((biography, session, holding));
                }
                if !members.is_empty() {
                    copies.extend(self.copies_in(station, index, number).into_iter().map(|copy| (station, copy)));
                }
            }
        }
        let may = |members: &&Vec<(&Biography, &Session, &Holding)>| {
            members.iter().any(|(_, _, holding)| holding.touches(&published.span))
        };
        let most = groups.values().filter(may).count();
        let at_most_once = |(_, copy): &(usize, &Copy)| copy.guarantee == Guarantee::AtMostOnce;
        let repeated = published.repeatable
            || published.forgettable && copies.iter().any(at_most_once)
            || copies.iter().any(|(_, copy)| copy.guarantee == Guarantee::AtLeastOnce)
                && (groups.values().flatten().any(|(biography, session, holding)| {
                    biography.was_lost_between(published.span.begin, u64::MAX)
                        || session.end.is_some()
                        || holding.until.is_some()
                }));
        // That a copy at QoS 0 has left a stored queue is written when there is time: a crash before that gives it again.
        let steps = || copies.iter().map(|(_, copy)| copy.step);
        let (first, last) = (steps().min().unwrap_or(0), steps().max().unwrap_or(0));
        let lost = |(biography, ..): &(&Biography, &Session, &Holding)| biography.was_lost_between(first, last);
        let by_crash = copies.iter().any(at_most_once) && groups.values().flatten().any(lost);
        let repeated = repeated || published.is_late && by_crash;
        let what = || {
            let holdings: Vec<&Holding> = groups.values().flatten().map(|(_, _, holding)| *holding).collect();
            format!("publication {number} {published:?}, groups {holdings:?}: {copies:?}")
        };
        assert!(copies.len() <= most || repeated, "more than {most} copies to members: {}", what());
        let least = groups.values().filter(|members| self.group_must_get(members, published)).count();
        assert!(copies.len() >= least, "fewer than {least} copies to members: {}", what());
    }

    /// A group surely gets a message when a member stays all the time, and no other can have taken it away with it.
    fn group_must_get(&self, members: &[(&Biography, &Session, &Holding)], published: &Publication) -> bool {
        let Some(done) = published.span.end.filter(|_| published.certain && published.allowed) else { return false };
        let Some(quiet) = self.quiet_after(done) else { return false };
        let connected = |biography: &Biography| biography.is_uninterrupted(published.span.begin, quiet);
        let touched = members.iter().filter(|(_, _, holding)| holding.touches(&published.span));
        // Who comes later may be given what waits.
        let later = members.iter().filter(|(biography, _, holding)| {
            let is_over = holding.until.is_some_and(|until| until.is_before(&published.span));
            let stays = biography.is_uninterrupted(holding.from.begin, u64::MAX - 1);
            !holding.refused && !is_over && !holding.touches(&published.span) && !stays
        });
        let away = touched.clone().filter(|(biography, ..)| !connected(biography));
        let away: Vec<_> = away.chain(later).collect();
        let loses = |guarantee| {
            away.iter().any(|(_, session, holding)| {
                let own = holding.options.qos.min(published.guarantee);
                own == guarantee && (guarantee == Guarantee::AtMostOnce || session.end.is_some())
            })
        };
        // Whoever has it may be away when its life ends.
        let expires = published.expiry_s.is_some() && touched.clone().any(|(biography, ..)| !connected(biography));
        if expires || loses(Guarantee::AtMostOnce) || loses(Guarantee::ExactlyOnce) {
            return false;
        }
        // Whoever does not read may have it, and give it back when nobody is there any more.
        let may_come_back = touched.clone().any(|(biography, session, holding)| {
            !connected(biography) && (session.end.is_some() || holding.until.is_some())
        });
        members.iter().any(|(biography, session, holding)| {
            let stays = session.end.is_none() && holding.until.is_none() && published.expiry_s.is_none();
            let waits = stays && holding.options.qos.min(published.guarantee) > Guarantee::AtMostOnce;
            // What waits for the last member to leave may be dropped when it does (§3.10.4).
            let is_there = connected(biography) && holding.until.is_none_or(|until| until.begin > quiet);
            holding.covers(&published.span) && (is_there && !may_come_back || waits)
        })
    }
}

impl Holding {
    /// Whether the publication is of the kind that this subscription asks for.
    fn wants(&self, station: usize, published: &Publication) -> bool {
        self.filter.matches(&published.topic) && !(self.options.no_local && published.station == station)
    }

    fn is_shared_for(&self, published: &Publication) -> bool {
        self.filter.group().is_some() && self.filter.matches(&published.topic)
    }
}

/// The identifiers of all matching subscriptions, and the retain flag where they agree on it.
fn check_flags(
    possible: &[&Holding],
    published: &Publication,
    copy: &Copy,
    sees_identifiers: bool,
    what: &dyn Fn() -> String,
) {
    let mut identifiers: Vec<u32> = possible.iter().map(|one| one.identifier).filter(|&one| one > 0).collect();
    identifiers.sort_unstable();
    if sees_identifiers {
        assert_eq!(copy.identifiers, identifiers, "other subscription identifiers: {}", what());
    }
    let as_published = possible.iter().filter(|one| one.options.retain_as_published).count();
    if as_published == 0 || as_published == possible.len() {
        assert_eq!(copy.retain, published.retain && as_published > 0, "another retain flag: {}", what());
    }
}
