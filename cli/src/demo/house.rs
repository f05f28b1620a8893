//! The house of `althing demo`: devices with a state that moves on minute by minute, the same for the same seed.

use std::f64::consts::TAU;

/// The languages that the devices speak, by their schemes in URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    Mqtt,
    MqttOverWebSocket,
    Stomp,
    Coap,
    Http,
    Json,
}

/// What a device says: the last value of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Who says it.
    pub speech: Speech,
    /// Below the topic of the house.
    pub topic: &'static str,
    /// Text, or JSON.
    pub payload: String,
}

/// Where the lamp listens, below the topic of the house.
pub const LAMP_SET: &str = "hall/lamp/set";
const LAMP: &str = "hall/lamp";

const MINUTES_OF_A_DAY: u32 = 24 * 60;
/// The house wakes up at six.
const MINUTE_FIRST: u32 = 6 * 60;

/// All devices, at one minute of one day.
#[derive(Debug)]
pub struct House {
    chance: Chance,
    minute: u32,
    outside_c: f64,
    living_room: Climate,
    kitchen: Climate,
    front_door: Door,
    garage_door: Door,
    lamp_is_on: bool,
    energy_wh: f64,
    water_l: u64,
    pressure_hpa: f64,
}

impl House {
    /// The same seed makes the same days.
    pub fn new(seed: u64) -> Self {
        Self {
            chance: Chance(seed),
            minute: MINUTE_FIRST,
            outside_c: 9.0,
            living_room: Climate { temperature_c: 19.5, humidity_percent: 46.0 },
            kitchen: Climate { temperature_c: 20.5, humidity_percent: 51.0 },
            front_door: Door::default(),
            garage_door: Door::default(),
            lamp_is_on: false,
            energy_wh: 4_711_000.0,
            water_l: 81_350,
            pressure_hpa: 1_013.0,
        }
    }

    /// One minute later: what the devices have to say. The first minute says everything.
    pub fn next_minute(&mut self) -> Vec<Reading> {
        let is_first = self.minute == MINUTE_FIRST;
        self.minute += 1;
        self.move_on();
        let mut readings = vec![
            reading(Speech::Mqtt, "living-room/temperature", format!("{:.1}", self.living_room.temperature_c)),
            reading(Speech::Mqtt, "living-room/humidity", format!("{:.1}", self.living_room.humidity_percent)),
            reading(Speech::Coap, "kitchen/climate", self.kitchen.json()),
            reading(Speech::Http, "cellar/electricity", self.electricity()),
            reading(Speech::Json, "garden/weather", self.weather()),
        ];
        let day_minute = self.minute % MINUTES_OF_A_DAY;
        if self.water_is_drawn(day_minute) || is_first {
            readings.push(reading(Speech::Coap, "cellar/water", self.water_l.to_string()));
        }
        if self.front_door.moves(&mut self.chance, 0.06) || is_first {
            readings.push(reading(Speech::Stomp, "hall/front-door", self.front_door.word().to_owned()));
        }
        if self.garage_door.moves(&mut self.chance, 0.03) || is_first {
            readings.push(reading(Speech::MqttOverWebSocket, "garage/door", self.garage_door.word().to_owned()));
        }
        let wanted = if is_first { Some(false) } else { self.switch(day_minute) };
        readings.extend(wanted.map(|is_on| self.lamp(is_on)));
        readings
    }

    /// Somebody told the lamp what to be; anything but `on`, `off` and `toggle` is not understood.
    pub fn command(&mut self, payload: &[u8]) -> Option<Reading> {
        match payload.trim_ascii() {
            b"on" => Some(self.lamp(true)),
            b"off" => Some(self.lamp(false)),
            b"toggle" => Some(self.lamp(!self.lamp_is_on)),
            _ => None,
        }
    }

    /// The time in the house, as on a clock.
    pub fn clock(&self) -> String {
        let minute = self.minute % MINUTES_OF_A_DAY;
        format!("{:02}:{:02}", minute / 60, minute % 60)
    }

    fn lamp(&mut self, is_on: bool) -> Reading {
        self.lamp_is_on = is_on;
        reading(Speech::Mqtt, LAMP, if is_on { "on" } else { "off" }.to_owned())
    }

    /// The lamp's own timer: on at seven in the evening, off at eleven.
    fn switch(&self, day_minute: u32) -> Option<bool> {
        match day_minute {
            1_140 => Some(true),
            1_380 => Some(false),
            _ => None,
        }
    }

    fn move_on(&mut self) {
        // Coldest at four in the morning, warmest twelve hours later.
        let day = f64::from(self.minute + MINUTES_OF_A_DAY - 10 * 60) / f64::from(MINUTES_OF_A_DAY);
        self.outside_c = 12.0 + 5.0 * (TAU * day).sin() + self.chance.between(-0.1, 0.1);
        self.pressure_hpa = (self.pressure_hpa + self.chance.between(-0.15, 0.15)).clamp(985.0, 1_035.0);
        let is_awake = (6 * 60..23 * 60).contains(&(self.minute % MINUTES_OF_A_DAY));
        let wanted_c = if is_awake { 21.5 } else { 18.0 };
        let is_open = self.front_door.is_open;
        self.living_room.move_on(&mut self.chance, wanted_c, if is_open { self.outside_c } else { wanted_c });
        self.kitchen.move_on(&mut self.chance, wanted_c + 0.5, wanted_c);
        self.energy_wh += self.power_w() / 60.0;
    }

    /// A house that sleeps draws little; the rest follows from the hour, the lamp and what is cooked.
    fn power_w(&mut self) -> f64 {
        let hour = self.minute % MINUTES_OF_A_DAY / 60;
        let usual = match hour {
            0..6 => 140.0,
            6..9 | 18..22 => 620.0,
            12..14 => 1_450.0,
            _ => 310.0,
        };
        usual + if self.lamp_is_on { 60.0 } else { 0.0 } + self.chance.between(0.0, 90.0)
    }

    fn electricity(&mut self) -> String {
        let (power_w, energy_kwh) = (self.power_w(), self.energy_wh / 1_000.0);
        format!("{{\"power_w\":{power_w:.0},\"energy_kwh\":{energy_kwh:.3}}}")
    }

    fn weather(&mut self) -> String {
        let (outside_c, pressure_hpa, wind) = (self.outside_c, self.pressure_hpa, self.chance.between(0.0, 7.0));
        format!("{{\"temperature_c\":{outside_c:.1},\"pressure_hpa\":{pressure_hpa:.1},\"wind_m_s\":{wind:.1}}}")
    }

    fn water_is_drawn(&mut self, day_minute: u32) -> bool {
        let is_drawn = (6 * 60..23 * 60).contains(&day_minute) && self.chance.happens(0.2);
        if is_drawn {
            self.water_l += 1 + self.chance.next() % 12;
        }
        is_drawn
    }
}

fn reading(speech: Speech, topic: &'static str, payload: String) -> Reading {
    Reading { speech, topic, payload }
}

/// What a DHT22 sees: a tenth of a degree and a tenth of a percent, ±0.5 °C.
#[derive(Debug)]
struct Climate {
    temperature_c: f64,
    humidity_percent: f64,
}

impl Climate {
    /// Drifts to what the heating wants and to the air that comes in.
    fn move_on(&mut self, chance: &mut Chance, wanted_c: f64, air_c: f64) {
        self.temperature_c += (wanted_c - self.temperature_c) * 0.03 + (air_c - self.temperature_c) * 0.02;
        self.temperature_c += chance.between(-0.08, 0.08);
        let drift = (48.0 - self.humidity_percent) * 0.02 + chance.between(-0.4, 0.4);
        self.humidity_percent = (self.humidity_percent + drift).clamp(0.0, 100.0);
    }

    fn json(&self) -> String {
        let Self { temperature_c, humidity_percent } = self;
        format!("{{\"temperature_c\":{temperature_c:.1},\"humidity_percent\":{humidity_percent:.1}}}")
    }
}

#[derive(Debug, Default)]
struct Door {
    is_open: bool,
}

impl Door {
    /// An open door is soon closed; whether it moved.
    fn moves(&mut self, chance: &mut Chance, opens: f64) -> bool {
        let moves = chance.happens(if self.is_open { 0.5 } else { opens });
        self.is_open ^= moves;
        moves
    }

    fn word(&self) -> &'static str {
        if self.is_open { "open" } else { "closed" }
    }
}

/// SplitMix64: a number that looks like any other, from a seed.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.between(0.0, 1.0) < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(seed: u64, minutes: usize) -> Vec<Vec<Reading>> {
        let mut house = House::new(seed);
        (0..minutes).map(|_| house.next_minute()).collect()
    }

    #[test]
    fn a_seed_makes_its_days() {
        assert_eq!(days(7, 500), days(7, 500));
        assert_ne!(days(7, 500), days(8, 500));
    }

    #[test]
    fn the_first_minute_says_everything_in_every_language() {
        let first = &days(1, 1)[0];
        let topics: std::collections::BTreeSet<_> = first.iter().map(|reading| reading.topic).collect();
        assert_eq!(topics.len(), first.len());
        use Speech::*;
        for speech in [Mqtt, MqttOverWebSocket, Stomp, Coap, Http, Json] {
            assert!(first.iter().any(|reading| reading.speech == speech), "{speech:?}");
        }
        for minute in days(1, 3_000) {
            assert!(minute.iter().all(|reading| topics.contains(reading.topic)));
        }
    }

    #[test]
    fn rooms_stay_rooms_and_meters_only_rise() {
        let mut energy = 0.0;
        for reading in days(3, 3 * 1_440).into_iter().flatten() {
            match reading.topic {
                "living-room/temperature" => {
                    let celsius: f64 = reading.payload.parse().unwrap();
                    assert!((12.0..26.0).contains(&celsius), "{celsius}");
                }
                "cellar/electricity" => {
                    let json: serde_json::Value = serde_json::from_str(&reading.payload).unwrap();
                    let now = json["energy_kwh"].as_f64().unwrap();
                    assert!(now >= energy);
                    energy = now;
                }
                _ => {}
            }
        }
    }

    #[test]
    fn the_lamp_does_what_it_is_told() {
        let mut house = House::new(1);
        assert_eq!(house.command(b"on").unwrap().payload, "on");
        assert_eq!(house.command(b" toggle\n").unwrap().payload, "off");
        assert_eq!(house.command(b"brighter"), None);
    }
}
