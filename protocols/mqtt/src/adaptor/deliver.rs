//! From deliveries to PUBLISH packets: the path that a broker spends most of its time on.

use super::MqttAdaptor;
use crate::alias::AliasOut;
use althing_core::time::SECOND_NS;
use althing_core::verbs::Outcome;
use althing_core::{Delivery, Guarantee, Now, Out, Request};
