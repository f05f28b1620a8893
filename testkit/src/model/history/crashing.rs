//! The end of the house's process: what of each station's affairs survives it, and what becomes uncertain.

use super::{FOR_EVER, History, Waiting};
use crate::disk::Fault;
use crate::house::{Crash, Downtime};
use crate::model::Span;
use althing_core::time::{MILLISECOND_NS, SECOND_NS};
use althing_core::{Entropy, Guarantee};

impl History<'_> {
    /// The process ends, and the next one begins.
    pub(super) fn crash(&mut self) {
        let mut entropy = Entropy::new(self.house.below(u64::MAX));
        let power_lost = self.house.one_in(2);
        self.house.crash(power_lost, Downtime::draw(&mut entropy));
        self.observe();
    }

    /// One of the next calls of the disk fails; what follows from it comes by itself.
    pub(super) fn plan_failure(&mut self) {
        let (ahead, power) = (1 + self.house.below(30), self.house.one_in(3));
        if let Some(disk) = self.house.disk() {
            disk.fail_at(disk.calls() + ahead, if power { Fault::Power } else { Fault::Broken });
        }
    }

    /// Takes down the ends of the process that have happened since the last look. Nobody has heard anything after the
    /// last of them: everybody has lost the connection.
    pub(super) fn observe_crashes(&mut self) {
        let crashes = self.house.crashes()[self.crashes..].to_vec();
        self.crashes += crashes.len();
        for crash in crashes {
            self.house.note(format_args!("HISTORY takes down the end of the process at step {}", crash.step));
            self.story.rounding_ns += MILLISECOND_NS;
            for index in 0..self.actors.len() {
                self.lose_by_crash(index, crash);
            }
            self.doubt_publications(crash);
        }
    }

    fn lose_by_crash(&mut self, index: usize, crash: Crash) {
        let step = crash.step;
        let was_quiet = self.story.quiet.last().copied().unwrap_or(0);
        let biography = &mut self.story.stations[index];
        if let Some(deaf) = biography.deaf.last_mut() {
            deaf.until.get_or_insert(step);
        }
        if let Some(stretch) = biography.stretches.last_mut() {
            stretch.until.get_or_insert(step);
        }
        let actor = &mut self.actors[index];
        let was_connected = std::mem::take(&mut actor.connected);
        let attempt = actor.attempt.take();
        let ends = actor.expiry_s != FOR_EVER;
        if let Some(attempt) = &attempt {
            // Nor is it known since when the session counts its absence.
            actor.unclear |= ends || !attempt.expects_session || attempt.expiry_before_s != actor.expiry_s;
        }
        if was_connected || attempt.is_some() {
            // The next process counts from its own beginning.
            (actor.lost_ns, actor.lost_step) = (crash.restart_ns, step);
        } else if actor.lost_step > was_quiet || matches!(crash.downtime, Downtime::Doubtful(_)) {
            // Perhaps it does not know that the station was gone, or for how long.
            actor.unclear |= ends;
        }
        for (token, waiting) in std::mem::take(&mut actor.waiting) {
            if let Waiting::Publication(number) = waiting {
                let published = &mut self.story.publications[number];
                published.is_late = true;
                published.repeatable |= published.guarantee == Guarantee::AtLeastOnce;
                actor.waiting.insert(token, waiting);
            }
        }
        self.lose_will_by_crash(index, crash, was_connected);
        let (actor, over) = (&self.actors[index], self.session_is_over(index));
        if actor.expiry_s == 0 {
            self.end_session(index, Span { begin: step, end: Some(step) });
        } else if actor.unclear || over {
            self.end_session(index, Span::open(step));
        }
    }

    /// A will of a session that lasts is published at least once, after its delay; any other one perhaps.
    fn lose_will_by_crash(&mut self, index: usize, crash: Crash, was_connected: bool) {
        let was_quiet = self.story.quiet.last().copied().unwrap_or(0);
        let actor = &mut self.actors[index];
        actor.will_in_doubt = None;
        let said_goodbye = actor.goodbye.take().is_some();
        if let Some((number, delay_s)) = actor.will.take() {
            let published = &mut self.story.publications[number];
            published.issued_ns = crash.restart_ns;
            published.span = Span::open(crash.step);
            published.certain = was_connected && !said_goodbye && published.lasts && delay_s == 0;
            if was_connected && !said_goodbye && published.lasts && delay_s > 0 {
                let due_ns = crash.restart_ns + u64::from(delay_s.min(actor.expiry_s)) * SECOND_NS;
                published.span = Span::open(u64::MAX);
                actor.will_due = Some((number, due_ns));
            }
        } else if let Some((number, due_ns)) = actor.will_due.take() {
            let is_known = actor.lost_step <= was_quiet && matches!(crash.downtime, Downtime::Known(_));
            if is_known && due_ns > crash.restart_ns {
                actor.will_due = Some((number, due_ns));
            } else {
                let is_due = is_known && due_ns + self.story.rounding_ns <= crash.restart_ns;
                let published = &mut self.story.publications[number];
                (published.span, published.certain) = (Span::open(crash.step), is_due);
            }
        }
    }

    /// What was not finished may happen again, or not at all.
    fn doubt_publications(&mut self, crash: Crash) {
        for published in &mut self.story.publications {
            let unfinished = published.span.end.is_none() && published.span.begin <= crash.step;
            if published.is_will && unfinished {
                published.repeatable = true;
                published.certain &= published.lasts;
            }
            if published.guarantee == Guarantee::ExactlyOnce && unfinished && !published.is_will {
                published.forgettable = true;
            }
            published.is_late |= matches!(crash.downtime, Downtime::Doubtful(_));
        }
    }
}
