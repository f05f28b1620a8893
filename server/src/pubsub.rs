//! The topics of CoAP's collection `/ps` between two starts: their configurations are last values of `$ps/NAME`.

use althing_coap::Common;
use althing_core::topic::{Filter, TopicLimits};
use althing_core::{Guarantee, Message, Topic};
use althing_net::local;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Fills the collection with what an earlier process has left, before anybody is served.
pub fn restore(common: &Common) {
    let limits = TopicLimits { length_bytes_max: usize::MAX, levels_max: usize::MAX };
    let Ok(filter) = Filter::new("$ps/#".into(), &limits) else { return };
    for message in local::last_values(&filter) {
        common.collection.load(&message, &limits);
    }
}

/// Deletes topics whose time is over, with their data; who observes one hears it. Requests do not find it any more from the
/// moment itself.
pub async fn expire(common: Arc<Common>) {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        for entry in common.collection.expired(local::now()) {
            tracing::info!("{}, the topic {}, has expired", entry.path(), entry.topic);
            common.collection.remove(entry.id);
            if entry.data_path().is_some() {
                clear(entry.topic);
            }
            clear(entry.configuration);
        }
    }
}

fn clear(topic: Topic) {
    let mut message = Message::new(topic, Bytes::new());
    (message.guarantee, message.retain) = (Guarantee::AtLeastOnce, true);
    local::publish(message);
}
