//! `althing reply`: answer each request at its response topic, with its correlation data (§4.10).

use crate::arguments::{AnswerArguments, ReplyArguments};
use crate::connection::guarantee;
use crate::exit::{ExitCode, Failure};
use crate::output::Log;
use crate::refusal;
use crate::stop::Stop;
use crate::subscriber::{News, Subscriber, Wishes, subscribe_filters};
use althing_core::{Guarantee, Properties};
use althing_mqtt::client::publication;
use althing_mqtt::packet::{Publish, Version};
use bytes::Bytes;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Commands running at once; further requests wait in the connection.
const COMMANDS_MAX: usize = 16;

/// Answers until something ends it.
pub async fn run(arguments: &ReplyArguments) -> Result<ExitCode, Failure> {
    let plan = arguments.connection.plan()?;
    if plan.connect.version != Version::V5 {
        return Err(Failure::usage("only MQTT 5 requests say where the answer goes: leave out -V or use -V 5"));
    }
    let qos = guarantee(arguments.qos);
    let filters = subscribe_filters(arguments.topic.iter().chain(&plan.url_topic), qos, false, false)?;
    if filters.is_empty() {
        return Err(Failure::usage("no filter to hear requests on: add -t"));
    }
    let wishes = Wishes { filters, unsubscribe: Vec::new(), reconnect: !arguments.no_reconnect };
    let log = Log::new(arguments.connection.quiet, arguments.connection.debug);
    let mut stop = Stop::new(arguments.timeout)?;
    let (finished_out, finished_in) = channel(COMMANDS_MAX);
    let mut replier = Replier {
        subscriber: Subscriber::new(plan, log, wishes),
        answers: Answers::new(&arguments.answer),
        qos,
        running: 0,
        finished_out,
        finished_in,
        answered: 0,
    };
    let result = tokio::select! {
        code = stop.requested() => Ok(code),
        result = replier.serve(arguments.count) => result.map(|()| ExitCode::Ok),
    };
    replier.subscriber.link.close().await;
    match result? {
        // Time is up: fine when no number was asked for and something was answered.
        ExitCode::Timeout if arguments.count.is_none() && replier.answered > 0 => Ok(ExitCode::Ok),
        code => Ok(code),
    }
}

/// What requests are answered with.
#[derive(Clone, Debug)]
enum Answers {
    Text(Bytes),
    Echo,
    Command(String),
}

impl Answers {
    fn new(arguments: &AnswerArguments) -> Self {
        match (&arguments.message, &arguments.command) {
            (Some(text), _) => Self::Text(Bytes::from(text.clone())),
            (None, Some(command)) => Self::Command(command.clone()),
            (None, None) => Self::Echo,
        }
    }
}

/// A command has answered a request, or failed to.
struct Finished {
    request: Publish,
    /// The connection that the request came on.
    connection: u64,
    answer: io::Result<Bytes>,
}

struct Replier {
    subscriber: Subscriber,
    answers: Answers,
    qos: Guarantee,
    running: usize,
    finished_out: Sender<Finished>,
    finished_in: Receiver<Finished>,
    answered: u64,
}

impl Replier {
    async fn serve(&mut self, count: Option<u64>) -> Result<(), Failure> {
        while count.is_none_or(|count| self.answered < count) {
            tokio::select! {
                news = self.subscriber.next(), if self.running < COMMANDS_MAX => self.hear(news?)?,
                Some(finished) = self.finished_in.recv() => self.finish(finished)?,
            }
        }
        while self.subscriber.link.open_publishes() > 0 {
            let news = self.subscriber.next().await?;
            if let News::Published { .. } = news {
                self.hear(news)?;
            }
        }
        Ok(())
    }

    fn hear(&mut self, news: News) -> Result<(), Failure> {
        let log = self.subscriber.link.log();
        match news {
            News::Ready => log.debug("ready for requests"),
            News::Published { code, .. } if code >= 0x80 => log.warn(&refusal::acknowledgement("an answer", code).text),
            News::Published { .. } => {}
            News::Message(request) if response_topic(&request).is_none() => {
                log.warn(&format!("a request on {} names no response topic and gets no answer", topic(&request)));
                self.subscriber.link.acknowledge(&request);
            }
            News::Message(request) => match self.answers.clone() {
                Answers::Text(text) => self.answer_now(&request, text)?,
                Answers::Echo => self.answer_now(&request, request.payload.clone())?,
                Answers::Command(command) => self.start(command, request),
            },
        }
        Ok(())
    }

    fn answer_now(&mut self, request: &Publish, payload: Bytes) -> Result<(), Failure> {
        self.answer(request, payload)?;
        self.subscriber.link.acknowledge(request);
        Ok(())
    }

    /// Runs a command while the connection goes on.
    fn start(&mut self, command: String, request: Publish) {
        self.running += 1;
        let connection = self.subscriber.link.connection();
        let finished = self.finished_out.clone();
        tokio::spawn(async move {
            let answer = run_command(&command, &request).await;
            // Nobody listens any more once the command line tool ends.
            let _ = finished.send(Finished { request, connection, answer }).await;
        });
    }

    fn finish(&mut self, finished: Finished) -> Result<(), Failure> {
        self.running -= 1;
        let Finished { request, connection, answer } = finished;
        match answer {
            Ok(payload) => self.answer(&request, payload)?,
            Err(error) => self.subscriber.link.log().warn(&format!("no answer on {}: {error}", topic(&request))),
        }
        // A packet identifier of an earlier connection cannot be acknowledged any more.
        if connection == self.subscriber.link.connection() {
            self.subscriber.link.acknowledge(&request);
        }
        Ok(())
    }

    /// Publishes the answer. The request is acknowledged after it, so that none is lost unanswered.
    fn answer(&mut self, request: &Publish, payload: Bytes) -> Result<(), Failure> {
        let Some((topic, correlation_data)) = response_topic(request) else { return Ok(()) };
        if self.qos == Guarantee::AtMostOnce && !self.subscriber.link.can_publish() {
            self.subscriber.link.log().warn(&format!("the answer on {topic} is lost with the connection"));
            return Ok(());
        }
        let mut publish = publication(topic.clone(), payload, self.qos);
        publish.properties = correlation_data
            .map(|data| Arc::new(Properties { correlation_data: Some(data.clone()), ..Properties::default() }));
        self.subscriber.link.publish(publish)?;
        self.answered += 1;
        Ok(())
    }
}

fn topic(publish: &Publish) -> &str {
    publish.topic.as_ref().map_or("", |topic| topic.as_str())
}

fn response_topic(request: &Publish) -> Option<(&althing_core::Topic, Option<&Bytes>)> {
    let properties = request.properties.as_ref()?;
    Some((properties.response_topic.as_ref()?, properties.correlation_data.as_ref()))
}

/// The request's payload on stdin, its topic in the environment, the answer on stdout.
async fn run_command(command: &str, request: &Publish) -> io::Result<Bytes> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("ALTHING_TOPIC", topic(request))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let stdin = child.stdin.take();
    let payload = request.payload.clone();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A command that does not read its input is free to do so.
            let _ = stdin.write_all(&payload).await;
        }
    };
    let ((), output) = tokio::join!(feed, child.wait_with_output());
    let output = output?;
    if !output.status.success() {
        return Err(io::Error::other(format!("the command ended with {}", output.status)));
    }
    Ok(output.stdout.into())
}
