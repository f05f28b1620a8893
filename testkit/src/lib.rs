//! Whole worlds in one thread: everything that tests of several crates share. No sleeps, no real clock.

pub mod pair;
