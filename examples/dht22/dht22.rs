//! A DHT22 temperature and humidity sensor on a small Linux board, as an MQTT client: one file, the standard library
//! and the client half of `althing-mqtt`. README.md says how to wire, build and run it.
#![allow(missing_docs, reason = "a program")]

use althing_core::topic::TopicLimits;
use althing_core::{Guarantee, Now, Topic};
use althing_mqtt::client::{Client, Event, Options, publication};
use althing_mqtt::packet::{Version, Will};
use bytes::{Bytes, BytesMut};
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, io, thread};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How long to wait before connecting again.
const RECONNECT: Duration = Duration::from_secs(3);
const USAGE: &str = "usage: dht22 [HOST[:PORT]] [TOPIC] [INTERVAL_S] [COUNT]";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if arguments.len() > 4 || arguments.iter().any(|word| word.starts_with('-')) {
        return Err(USAGE.into());
    }
    let word = |index: usize, default: &str| arguments.get(index).map_or(default.to_owned(), Clone::clone);
    let mut host = word(0, "localhost:1883");
    if !host.contains(':') {
        host.push_str(":1883");
    }
    let interval = Duration::from_secs_f64(word(2, "10").parse()?);
    let count: u64 = word(3, &u64::MAX.to_string()).parse()?;
    let mut sensor = Sensor::find();
    let mut device = Device::new(host, &word(1, "home/living-room"))?;
    println!("{} to {} on {}", sensor.name(), device.host, device.topic);
    for number in 0..count {
        match sensor.read() {
            Ok(reading) => device.report(&reading),
            // A DHT22 misses a reading now and then: the next one comes soon.
            Err(error) => eprintln!("no reading: {error}"),
        }
        if number + 1 < count {
            device.wait(interval);
        }
    }
    device.leave();
    Ok(())
}

/// Tenths of a degree and of a percent, as the sensor has them.
struct Reading {
    temperature_c: f64,
    humidity_percent: f64,
}

/// The kernel's driver `dht11`, which knows the DHT22 too, or a room that we make up.
enum Sensor {
    Kernel(PathBuf),
    Simulated { step: u32 },
}

impl Sensor {
    fn find() -> Self {
        let devices = fs::read_dir("/sys/bus/iio/devices").into_iter().flatten().flatten();
        let mut folders = devices.map(|device| device.path());
        let found = folders.find(|folder| folder.join("in_humidityrelative_input").exists());
        found.map_or(Self::Simulated { step: 0 }, Self::Kernel)
    }

    fn name(&self) -> String {
        match self {
            Self::Kernel(folder) => format!("the sensor at {}", folder.display()),
            Self::Simulated { .. } => "a simulated sensor (no /sys/bus/iio device measures humidity)".to_owned(),
        }
    }

    fn read(&mut self) -> Outcome<Reading> {
        match self {
            Self::Kernel(folder) => {
                // Thousandths of a degree and of a percent.
                let value = |file: &str| -> Outcome<f64> {
                    Ok(fs::read_to_string(folder.join(file))?.trim().parse::<f64>()? / 1_000.0)
                };
                let temperature_c = value("in_temp_input")?;
                Ok(Reading { temperature_c, humidity_percent: value("in_humidityrelative_input")? })
            }
            Self::Simulated { step } => {
                *step += 1;
                let hours = f64::from(*step) / 60.0;
                Ok(Reading { temperature_c: 21.0 + hours.sin(), humidity_percent: 48.0 + 3.0 * (hours / 2.0).cos() })
            }
        }
    }
}

/// An MQTT client on a blocking socket. What could not be said yet is kept by the client half, and said after the
/// next connection.
struct Device {
    host: String,
    topic: String,
    client: Client,
    socket: Option<TcpStream>,
    input: BytesMut,
    start: Instant,
}

impl Device {
    fn new(host: String, topic: &str) -> Outcome<Self> {
        let mut options = Options::new(Version::V5, &format!("dht22-{}", topic.replace('/', "-")));
        options.connect.username = env::var("ALTHING_USERNAME").ok().map(Into::into);
        options.connect.password = env::var("ALTHING_PASSWORD").ok().map(Bytes::from);
        // Who looks later sees that nothing more comes.
        options.connect.will = Some(Box::new(Will {
            topic: name(topic, "status")?,
            payload: Bytes::from_static(b"offline"),
            qos: Guarantee::AtLeastOnce,
            retain: true,
            delay_s: 0,
            message_expiry_s: None,
            properties: None,
        }));
        let client = Client::new(options);
        Ok(Self { host, topic: topic.to_owned(), client, socket: None, input: BytesMut::new(), start: Instant::now() })
    }

    fn report(&mut self, reading: &Reading) {
        let Reading { temperature_c, humidity_percent } = reading;
        println!("{temperature_c:.1} °C {humidity_percent:.1} %");
        self.publish("temperature", format!("{temperature_c:.1}"));
        self.publish("humidity", format!("{humidity_percent:.1}"));
        self.carry(|client| client.open_publishes() == 0, Duration::from_secs(20));
    }

    /// Keeps the connection alive for so long.
    fn wait(&mut self, time: Duration) {
        self.carry(|_| false, time);
    }

    /// Says goodbye, so that the will stays unsaid.
    fn leave(&mut self) {
        self.publish("status", "offline".to_owned());
        self.carry(|client| client.open_publishes() == 0, Duration::from_secs(20));
        self.client.disconnect(self.now(), Default::default());
        let _ = self.flush();
    }

    /// At QoS 1 and as a last value.
    fn publish(&mut self, what: &str, value: String) {
        let outcome = name(&self.topic, what).and_then(|topic| {
            let mut publish = publication(topic, value.into(), Guarantee::AtLeastOnce);
            publish.retain = true;
            Ok(self.client.publish(self.now(), publish)?)
        });
        if let Err(error) = outcome {
            eprintln!("{what} is not said: {error}");
        }
    }

    /// Carries bytes both ways until `is_done` or the time is up; connects where need be.
    fn carry(&mut self, is_done: impl Fn(&Client) -> bool, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !(self.client.is_connected() && is_done(&self.client)) {
            if let Err(error) = self.step(end) {
                eprintln!("no connection to {}: {error}", self.host);
                self.socket = None;
                thread::sleep(RECONNECT.min(end.saturating_duration_since(Instant::now())));
            }
        }
    }

    fn step(&mut self, end: Instant) -> Outcome<()> {
        if self.socket.is_none() {
            let socket = TcpStream::connect(&self.host)?;
            socket.set_nodelay(true)?;
            self.socket = Some(socket);
            self.input.clear();
            self.client.connect(self.now());
        }
        self.flush()?;
        let now = self.now();
        let ping = self
            .client
            .next_timeout()
            .map(|deadline| Duration::from_nanos(deadline.mono_ns.saturating_sub(now.mono_ns)));
        let patience = end.saturating_duration_since(Instant::now()).min(ping.unwrap_or(Duration::MAX));
        let socket = self.socket.as_mut().ok_or("no connection")?;
        socket.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
        let mut bytes = [0; 1_024];
        let mut events = Vec::new();
        match socket.read(&mut bytes) {
            Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(length) => {
                self.input.extend_from_slice(&bytes[..length]);
                let now = self.now();
                self.client.receive(now, &mut self.input, &mut events)?;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.client.timeout(self.now())?;
            }
            Err(error) => return Err(error.into()),
        }
        for event in events {
            match event {
                Event::Connected(_) => self.publish("status", "online".to_owned()),
                Event::Published { code, .. } if code >= 0x80 => eprintln!("the broker refuses: code 0x{code:02x}"),
                Event::Disconnected(goodbye) => return Err(format!("the broker leaves: 0x{:02x}", goodbye.code).into()),
                _ => {}
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Outcome<()> {
        let bytes = self.client.output().take_all();
        self.socket.as_mut().ok_or("no connection")?.write_all(&bytes)?;
        Ok(())
    }

    fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_ns: self.start.elapsed().as_nanos() as u64, wall_ms: wall.as_millis() as u64 }
    }
}

fn name(device: &str, what: &str) -> Outcome<Topic> {
    Topic::new(format!("{device}/{what}").into(), &TopicLimits::default()).map_err(|error| error.to_string().into())
}
