//! `althing demo`: a small house of simulated devices, so that there is something to see.

mod house;
mod json;
mod voice;

use crate::arguments::DemoArguments;
use crate::connection::topic_name;
use crate::exit::{ExitCode, Failure};
use crate::output::{Log, write_stdout};
use crate::refusal;
use crate::stop::Stop;
use crate::subscriber::{News, Subscriber, Wishes, subscribe_filters};
use althing_core::protocol::Row;
use althing_core::{Guarantee, Topic};
use althing_mqtt::client::publication;
use althing_server::config::moved;
use bytes::Bytes;
use house::{House, LAMP_SET, Reading, Speech};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use voice::Voice;

/// How long taking the last values away may hold up the end.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(2);
const ABOUT: &str = "A simulated house, made by `althing demo`: nothing here is measured.";

/// The languages besides the hub's MQTT, how a URL names each, and the device that speaks it.
const SPEECHES: [(Speech, &str, &str); 5] = [
    (Speech::MqttOverWebSocket, "ws", "garage"),
    (Speech::Json, "ws at /json", "garden"),
    (Speech::Http, "http", "meter"),
    (Speech::Stomp, "stomp", "front-door"),
    (Speech::Coap, "coap", "kitchen"),
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
    let rows = [&althing_mqtt::PROTOCOL, &althing_stomp::PROTOCOL, &althing_coap::PROTOCOL];
    let url = |row: &Row| format!("{}://localhost:{}", row.name, moved(row.default_port, port_offset));
    let mut urls: Vec<String> = rows.into_iter().map(url).collect();
    let web: Option<SocketAddr> = althing_http::PROTOCOL.default_bind.parse().ok();
    if let Some(port) = web.map(|address| moved(address.port(), port_offset)) {
        urls.extend(["http", "ws"].map(|scheme| format!("{scheme}://localhost:{port}")));
        urls.push(format!("ws://localhost:{port}/json"));
    }
    urls
}

/// The language that a URL names besides the hub's, and the device that speaks it.
fn speech(url: &str) -> Option<(Speech, &'static str)> {
    let (scheme, rest) = url.split_once("://")?;
    // Inside TLS it is the same language.
    let scheme = match scheme {
        "wss" => "ws",
        "https" => "http",
        "stomps" | "stomp+tls" | "stomp+ssl" => "stomp",
        other => other,
    };
    let given = if scheme == "ws" && rest.ends_with("/json") { "ws at /json" } else { scheme };
    SPEECHES.iter().find(|(_, name, _)| *name == given).map(|(speech, _, device)| (*speech, *device))
}

/// The devices, and their ways to the broker.
struct Demo {
    house: House,
    topic: String,
    /// The hub: what speaks MQTT, and what hears the lamp's commands.
    hub: Subscriber,
    /// What speaks another language. Devices whose language nobody understands speak through the hub.
    voices: Vec<(Speech, Voice)>,
    /// What has been said, to be taken away in the end.
    said: BTreeMap<&'static str, Topic>,
    ticks: Interval,
}

impl Demo {
    async fn start(arguments: &DemoArguments) -> Result<Self, Failure> {
        let is_chosen = !arguments.urls.is_empty();
        let urls = if is_chosen { arguments.urls.clone() } else { urls_default(arguments.port_offset) };
        let (others, hubs): (Vec<_>, Vec<_>) = urls.iter().partition(|url| speech(url).is_some());
        let [hub_url] = hubs[..] else {
            return Err(Failure::usage("the house needs one mqtt:// URL, and at most one of each other language"));
        };
        let lamp = format!("{}/{LAMP_SET}", arguments.topic);
        let filters = subscribe_filters([&lamp], Guarantee::AtLeastOnce, false, false)?;
        let wishes = Wishes { filters, unsubscribe: Vec::new(), reconnect: true };
        let mut hub = Subscriber::new(voice::mqtt_plan(hub_url, "hub")?, Log::Normal, wishes);
        while !matches!(hub.next().await?, News::Ready) {}
        let mut voices = Vec::new();
        for url in others {
            let Some((speech, device)) = speech(url) else { continue };
            match Voice::connect(url, device, speech == Speech::Json).await {
                Ok(voice) => voices.push((speech, voice)),
                Err(failure) if is_chosen => return Err(failure),
                Err(failure) => Log::Normal.warn(&format!("{url} is left out: {}", failure.text)),
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
        for (_, voice) in &self.voices {
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
        let Some((_, voice)) = self.voices.iter_mut().find(|(spoken, _)| *spoken == speech) else {
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
        for (_, voice) in self.voices {
            voice.close().await;
        }
    }
}

fn name(house: &str, topic: &str) -> Result<Topic, Failure> {
    topic_name(&format!("{house}/{topic}"))
}
