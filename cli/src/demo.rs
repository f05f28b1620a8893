//! `althing demo`: a small house of simulated devices, so that there is something to see.

mod house;
mod voice;

use crate::arguments::DemoArguments;
use crate::connection::topic_name;
use crate::exit::{ExitCode, Failure};
use crate::output::{Log, write_stdout};
use crate::refusal;
use crate::stop::Stop;
use crate::subscriber::{News, Subscriber, Wishes, subscribe_filters};
use althing_core::{Guarantee, Topic};
use althing_mqtt::client::publication;
use althing_server::config::moved;
use bytes::Bytes;
use house::{House, LAMP_SET, Reading, Speech};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use voice::Voice;

/// How long taking the last values away may hold up the end.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(2);
const ABOUT: &str = "A simulated house, made by `althing demo`: nothing here is measured.";

/// The languages besides the hub's MQTT, the scheme of each, and the device that speaks it.
const SPEECHES: [(Speech, &str, &str); 5] = [
    (Speech::MqttOverWebSocket, "ws", "garage"),
    (Speech::Stomp, "stomp", "front-door"),
    (Speech::Coap, "coap", "kitchen"),
    (Speech::Http, "http", "meter"),
    (Speech::Json, "json", "garden"),
];

/// Runs the house until something ends it.
pub async fn run(arguments: &DemoArguments) -> Result<ExitCode, Failure> {
    let mut stop = Stop::new(None)?;
    let mut demo = None;
    let living = async {
        let demo = demo.insert(Demo::start(arguments).await?);
        demo.live(arguments.count).await
    };
    let result = tokio::select! {
        code = stop.requested() => Ok(code),
        result = living => result.map(|()| ExitCode::Ok),
    };
    if let Some(demo) = demo {
        demo.end(arguments.keep).await;
    }
    // Ending it by a signal is what it is for.
    Ok(match result? {
        ExitCode::Interrupted | ExitCode::Terminated => ExitCode::Ok,
        code => code,
    })
}

/// The URLs of a broker of ours on this machine.
fn urls_default(port_offset: u16) -> Vec<String> {
    let port = |scheme: &str| match scheme {
        "stomp" => althing_stomp::PROTOCOL.default_port,
        "coap" => althing_coap::PROTOCOL.default_port,
        _ => althing_mqtt::PROTOCOL.default_port,
    };
    let spoken = ["mqtt", "stomp", "coap"];
    spoken.iter().map(|scheme| format!("{scheme}://localhost:{}", moved(port(scheme), port_offset))).collect()
}

/// The scheme of a URL, and the device that speaks this language, if it is not MQTT.
fn device(url: &str) -> Option<(&'static str, &'static str)> {
    let given = url.split("://").next()?;
    SPEECHES.iter().find(|(_, scheme, _)| *scheme == given).map(|(_, scheme, device)| (*scheme, *device))
}

/// The devices, and their ways to the broker.
struct Demo {
    house: House,
    topic: String,
    /// The hub: what speaks MQTT, and what hears the lamp's commands.
    hub: Subscriber,
    /// What speaks another language, by its scheme. Devices whose language nobody understands speak through the hub.
    voices: BTreeMap<&'static str, Voice>,
    /// What has been said, to be taken away in the end.
    said: BTreeMap<&'static str, Topic>,
    ticks: Interval,
}

impl Demo {
    async fn start(arguments: &DemoArguments) -> Result<Self, Failure> {
        let is_chosen = !arguments.urls.is_empty();
        let urls = if is_chosen { arguments.urls.clone() } else { urls_default(arguments.port_offset) };
        let (others, hubs): (Vec<_>, Vec<_>) = urls.iter().partition(|url| device(url).is_some());
        let [hub_url] = hubs[..] else {
            return Err(Failure::usage("the house needs one mqtt:// URL, and at most one of each other language"));
        };
        let lamp = format!("{}/{LAMP_SET}", arguments.topic);
        let filters = subscribe_filters([&lamp], Guarantee::AtLeastOnce, false, false)?;
        let wishes = Wishes { filters, unsubscribe: Vec::new(), reconnect: true };
        let mut hub = Subscriber::new(voice::mqtt_plan(hub_url, "hub")?, Log::Normal, wishes);
        while !matches!(hub.next().await?, News::Ready) {}
        let mut voices = BTreeMap::new();
        for url in others {
            let Some((scheme, device)) = device(url) else { continue };
            match Voice::connect(url, device).await {
                Ok(voice) => drop(voices.insert(scheme, voice)),
                Err(failure) if is_chosen => return Err(failure),
                Err(failure) => Log::Normal.warn(&format!("{scheme} is left out: {}", failure.text)),
            }
        }
        let mut ticks = interval(arguments.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let topic = arguments.topic.clone();
        let demo = Self { house: House::new(arguments.seed), topic, hub, voices, said: BTreeMap::new(), ticks };
        demo.greet(hub_url)?;
        Ok(demo)
    }

    fn greet(&self, hub_url: &str) -> Result<(), Failure> {
        let topic = &self.topic;
        let mut text = format!("a simulated house on {topic}/#, a minute of its day at each step\n  {hub_url}\n");
        for voice in self.voices.values() {
            text.push_str(&format!("  {}\n", voice.url()));
        }
        text.push_str(&format!("try: althing pub -L {hub_url}/{topic}/{LAMP_SET} -m toggle\nCtrl-C ends it\n"));
        write_stdout(text.as_bytes())
    }

    async fn live(&mut self, count: Option<u64>) -> Result<(), Failure> {
        self.say_through_the_hub("about", ABOUT.into())?;
        let mut minutes = 0;
        while count.is_none_or(|count| minutes < count) {
            tokio::select! {
                _ = self.ticks.tick() => {
                    minutes += 1;
                    for reading in self.house.next_minute() {
                        self.say(reading).await?;
                    }
                    let clock = self.house.clock();
                    self.say_through_the_hub("clock", clock.into())?;
                }
                news = self.hub.next() => self.hear(news?)?,
            }
        }
        self.settle().await
    }

    fn hear(&mut self, news: News) -> Result<(), Failure> {
        match news {
            News::Message(command) => {
                if let Some(reading) = self.house.command(&command.payload) {
                    self.say_through_the_hub(reading.topic, reading.payload.into())?;
                }
                self.hub.link.acknowledge(&command);
            }
            News::Published { code } if code >= 0x80 => return Err(refusal::acknowledgement("a reading", code)),
            News::Published { .. } | News::Ready => {}
        }
        Ok(())
    }

    async fn say(&mut self, reading: Reading) -> Result<(), Failure> {
        let Reading { speech, topic, payload } = reading;
        let payload = Bytes::from(payload);
        let scheme = SPEECHES.iter().find(|(known, ..)| *known == speech).map(|(_, scheme, _)| *scheme);
        let Some(voice) = scheme.and_then(|scheme| self.voices.get_mut(scheme)) else {
            return self.say_through_the_hub(topic, payload);
        };
        let name = name(&self.topic, topic)?;
        // A device that is not heard this time says it again, as devices do.
        match voice.say(&name, payload).await {
            Ok(()) => drop(self.said.insert(topic, name)),
            Err(failure) => Log::Normal.warn(&format!("{}: {}", voice.url(), failure.text)),
        }
        Ok(())
    }

    /// At QoS 1, as a last value. While the hub is away nothing is said.
    fn say_through_the_hub(&mut self, topic: &'static str, payload: Bytes) -> Result<(), Failure> {
        if !self.hub.link.can_publish() {
            return Ok(());
        }
        let name = name(&self.topic, topic)?;
        let mut publish = publication(name.clone(), payload, Guarantee::AtLeastOnce);
        publish.retain = true;
        self.hub.link.publish(publish)?;
        self.said.insert(topic, name);
        Ok(())
    }

    /// Waits until everything that the hub has said is acknowledged.
    async fn settle(&mut self) -> Result<(), Failure> {
        while self.hub.link.open_publishes() > 0 {
            let news = self.hub.next().await?;
            self.hear(news)?;
        }
        Ok(())
    }

    /// Takes the last values away, unless they are to stay, and closes all connections.
    async fn end(mut self, keep: bool) {
        if !keep {
            for topic in std::mem::take(&mut self.said).into_keys() {
                // Who cannot be told any more keeps what it has.
                let _ = self.say_through_the_hub(topic, Bytes::new());
            }
            let _ = timeout(CLEAR_TIMEOUT, self.settle()).await;
        }
        self.hub.link.close().await;
        for voice in self.voices.into_values() {
            voice.close().await;
        }
    }
}

fn name(house: &str, topic: &str) -> Result<Topic, Failure> {
    topic_name(&format!("{house}/{topic}"))
}
