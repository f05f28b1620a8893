//! One connection of the house, in whichever language its URL names; it comes back by itself after it was lost.

use super::json;
use crate::connection::{ConnectionArguments, Plan};
use crate::exit::Failure;
use crate::foreign::{self, ForeignPlan, Publication, Said};
use crate::link::Link;
use crate::output::Log;
use crate::refusal;
use althing_core::{Guarantee, Topic};
use althing_mqtt::client::{Event, publication};
use bytes::Bytes;
use clap::Parser;

/// The options of every client command, read from words of our own: a URL means here what it means there.
#[derive(Parser)]
#[command(disable_help_flag = true, no_binary_name = true)]
struct Words {
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// The plan of an MQTT client. It needs no pings: devices that rarely say something are not driven in between.
pub fn mqtt_plan(url: &str, device: &str) -> Result<Plan, Failure> {
    let prefix = format!("demo-{device}-");
    connection(&["-L", url, "-I", &prefix, "-k", "0"])?.plan()
}

fn connection(words: &[&str]) -> Result<ConnectionArguments, Failure> {
    let words = Words::try_parse_from(words).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(words.connection)
}

/// A device's way to the broker.
pub struct Voice {
    url: String,
    way: Way,
}

enum Way {
    Mqtt(Box<Link>),
    Json(Box<Plan>, Option<json::Link>),
    Foreign(Box<ForeignPlan>, Option<foreign::Link>),
}

impl Voice {
    /// Connects to see whether anybody listens there.
    pub async fn connect(url: &str, device: &str, is_json: bool) -> Result<Self, Failure> {
        let way = match connection(&["-L", url])?.foreign_plan()? {
            None if is_json => {
                let plan = mqtt_plan(url, device)?;
                let link = json::Link::connect(&plan).await?;
                Way::Json(Box::new(plan), Some(link))
            }
            Some(plan) => {
                let link = foreign::Link::connect(&plan).await?;
                Way::Foreign(Box::new(plan), Some(link))
            }
            None => {
                let mut link = Link::new(mqtt_plan(url, device)?, Log::Normal);
                link.connect().await?;
                Way::Mqtt(Box::new(link))
            }
        };
        Ok(Self { url: url.to_owned(), way })
    }

    /// Where it leads.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Publishes a last value and waits for the broker's word. After a failure the next call connects anew.
    pub async fn say(&mut self, topic: &Topic, payload: Bytes) -> Result<(), Failure> {
        match &mut self.way {
            Way::Mqtt(link) => say_in_mqtt(link, topic, payload).await,
            Way::Json(plan, place) => {
                let mut link = match place.take() {
                    Some(link) => link,
                    None => json::Link::connect(plan).await?,
                };
                link.say(topic, &payload).await?;
                *place = Some(link);
                Ok(())
            }
            Way::Foreign(plan, place) => {
                let mut link = match place.take() {
                    Some(link) => link,
                    None => foreign::Link::connect(plan).await?,
                };
                let publication =
                    Publication { topic: topic.clone(), is_confirmed: true, retain: true, said: Said::default() };
                foreign::in_time(plan, link.publish(&publication, payload)).await?;
                *place = Some(link);
                Ok(())
            }
        }
    }

    /// Says goodbye.
    pub async fn close(self) {
        match self.way {
            Way::Mqtt(mut link) => link.close().await,
            Way::Json(_, Some(link)) => link.close().await,
            Way::Foreign(_, Some(mut link)) => drop(link.close().await),
            Way::Json(_, None) | Way::Foreign(_, None) => {}
        }
    }
}

async fn say_in_mqtt(link: &mut Link, topic: &Topic, payload: Bytes) -> Result<(), Failure> {
    if !link.is_connected() {
        link.connect().await?;
    }
    let mut publish = publication(topic.clone(), payload, Guarantee::AtLeastOnce);
    publish.retain = true;
    link.publish(publish)?;
    while !link.is_idle() {
        match link.progress().await {
            Ok(Some(Event::Published { code, .. })) if code >= 0x80 => {
                return Err(refusal::acknowledgement("the reading", code));
            }
            Ok(_) => {}
            Err(lost) => return Err(refusal::lost(&lost)),
        }
    }
    Ok(())
}
