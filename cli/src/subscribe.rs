//! `althing sub`

use crate::arguments::SubscribeArguments;
use crate::connection::{Plan, guarantee};
use crate::exit::{ExitCode, Failure};
use crate::foreign;
use crate::message::Received;
use crate::output::{Log, Printer};
use crate::stop::Stop;
use crate::subscriber::{News, Subscriber, Wishes, parse_filter, subscribe_filters};
use althing_core::{Filter, Guarantee};
use althing_mqtt::client::publication;
use althing_mqtt::packet::Publish;
use bytes::Bytes;

/// Subscribes and prints until something ends it.
pub async fn run(arguments: &SubscribeArguments) -> Result<ExitCode, Failure> {
    if let Some(plan) = arguments.connection.foreign_plan()? {
        return foreign::subscribe(arguments, &plan).await;
    }
    let plan = arguments.connection.plan()?;
    let wishes = wishes(arguments, &plan)?;
    let sieve = Sieve::new(arguments)?;
    let printer = Printer::new(&arguments.output)?;
    let log = Log::new(arguments.connection.quiet, arguments.connection.debug);
    let mut stop = Stop::new(arguments.timeout)?;
    let mut watcher = Watcher { subscriber: Subscriber::new(plan, log, wishes), printer, sieve, arguments, printed: 0 };
    let result = tokio::select! {
        code = stop.requested() => Ok(code),
        result = watcher.watch() => result.map(|()| ExitCode::Ok),
    };
    watcher.subscriber.link.close().await;
    match result? {
        ExitCode::Timeout => Ok(watcher.after_timeout()),
        code => Ok(code),
    }
}

fn wishes(arguments: &SubscribeArguments, plan: &Plan) -> Result<Wishes, Failure> {
    let filters = arguments.filters.iter().chain(&arguments.topic).chain(&plan.url_topic);
    let filters =
        subscribe_filters(filters, guarantee(arguments.qos), arguments.no_local, arguments.retain_as_published)?;
    if filters.is_empty() && arguments.unsubscribe.is_empty() {
        return Err(Failure::usage("nothing to subscribe to: add a filter, for one '#'"));
    }
    for filter in &arguments.unsubscribe {
        parse_filter(filter)?;
    }
    Ok(Wishes { filters, unsubscribe: arguments.unsubscribe.clone(), reconnect: !arguments.no_reconnect })
}

struct Watcher<'a> {
    subscriber: Subscriber,
    printer: Printer,
    sieve: Sieve,
    arguments: &'a SubscribeArguments,
    printed: u64,
}

impl Watcher<'_> {
    async fn watch(&mut self) -> Result<(), Failure> {
        loop {
            match self.subscriber.next().await? {
                News::Ready if self.arguments.exit_after_subscribe => break,
                News::Ready | News::Published { .. } => {}
                News::Message(publish) => {
                    if self.take(publish)? {
                        break;
                    }
                }
            }
        }
        // Retained messages that are being removed must reach the broker.
        while self.subscriber.link.open_publishes() > 0 {
            self.subscriber.next().await?;
        }
        Ok(())
    }

    /// Deals with one message; true when it was the last one wanted.
    fn take(&mut self, publish: Publish) -> Result<bool, Failure> {
        if self.arguments.retained_only && !publish.retain {
            return Ok(true);
        }
        if self.sieve.lets_through(&publish) {
            let log = self.subscriber.link.log();
            let client = self.subscriber.link.client_id().clone();
            self.printer.print(&Received::now(publish.clone(), client), log)?;
            self.printed += 1;
            if self.arguments.remove_retained && publish.retain {
                self.remove(&publish)?;
            }
        }
        // Printed first: what was not shown must come again.
        self.subscriber.link.acknowledge(&publish);
        Ok(self.arguments.count.is_some_and(|count| self.printed >= count))
    }

    /// An empty retained message removes the one that is there (§3.3.1.3).
    fn remove(&mut self, publish: &Publish) -> Result<(), Failure> {
        let Some(topic) = &publish.topic else { return Ok(()) };
        if publish.payload.is_empty() {
            return Ok(());
        }
        let mut empty = publication(topic.clone(), Bytes::new(), Guarantee::AtLeastOnce);
        empty.retain = true;
        self.subscriber.link.publish(empty).map(|_| ())
    }

    /// Time is up: fine when no number was asked for and something came.
    fn after_timeout(&self) -> ExitCode {
        if self.arguments.count.is_none() && self.printed > 0 { ExitCode::Ok } else { ExitCode::Timeout }
    }
}

/// Which messages are shown.
struct Sieve {
    no_retained: bool,
    filter_out: Vec<Filter>,
}

impl Sieve {
    fn new(arguments: &SubscribeArguments) -> Result<Self, Failure> {
        let filter_out = arguments.filter_out.iter().map(|filter| parse_filter(filter)).collect::<Result<_, _>>()?;
        Ok(Self { no_retained: arguments.no_retained, filter_out })
    }

    fn lets_through(&self, publish: &Publish) -> bool {
        let stale = self.no_retained && publish.retain;
        let unwanted = |topic| self.filter_out.iter().any(|filter| filter.matches(topic));
        !stale && !publish.topic.as_ref().is_some_and(unwanted)
    }
}
