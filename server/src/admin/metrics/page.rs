//! Families of metrics, and how OpenMetrics writes them.

use althing_net::{BOUNDS_NS, Histogram};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use std::fmt::Error;

const SECOND_NS: f64 = 1e9;

/// What is written, family by family.
#[derive(Debug, Default)]
pub struct Page {
    families: Vec<Family>,
}

/// Metrics of one name.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    labels: Labels,
    value: Value,
}

/// Names and values.
pub type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
enum Value {
    Counter(f64),
    Gauge(f64),
    Histogram(Histogram),
}

impl Page {
    /// What only grows. The name is without `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.counters(name, help, [(Labels::new(), value)]);
    }

    /// What only grows, for each of several labels.
    pub fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        self.family(name, help, values.into_iter().map(|(labels, value)| (labels, Value::Counter(value as f64))));
    }

    /// Seconds that only grow.
    pub fn seconds(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.family(name, help, [(Labels::new(), Value::Counter(value))]);
    }

    /// What grows and shrinks.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: impl IntoGauge) {
        self.gauges(name, help, [(Labels::new(), value.into_gauge())]);
    }

    /// What grows and shrinks, for each of several labels.
    pub fn gauges(&mut self, name: &'static str, help: &'static str, values: impl IntoIterator<Item = (Labels, f64)>) {
        self.family(name, help, values.into_iter().map(|(labels, value)| (labels, Value::Gauge(value))));
    }

    /// How often something took how long, for each of several labels.
    pub fn histograms(
        &mut self,
        name: &'static str,
        help: &'static str,
        values: impl IntoIterator<Item = (Labels, Histogram)>,
    ) {
        self.family(name, help, values.into_iter().map(|(labels, value)| (labels, Value::Histogram(value))));
    }

    /// The whole page.
    pub fn text(self) -> Result<String, Error> {
        let mut registry = Registry::with_prefix("althing");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// A name that ends in a unit has it.
    fn family(&mut self, name: &'static str, help: &'static str, samples: impl IntoIterator<Item = (Labels, Value)>) {
        let units = [("_bytes", Unit::Bytes), ("_seconds", Unit::Seconds)];
        let unit = units.into_iter().find_map(|(suffix, unit)| name.strip_suffix(suffix).map(|name| (name, unit)));
        let (name, unit) = unit.map_or((name, None), |(name, unit)| (name, Some(unit)));
        let samples = samples.into_iter().map(|(labels, value)| Sample { labels, value }).collect();
        self.families.push(Family { name, help, unit, samples });
    }
}

/// Whole numbers as OpenMetrics has them.
pub trait IntoGauge {
    fn into_gauge(self) -> f64;
}

macro_rules! gauges {
    ($($number:ty)+) => {$(
        impl IntoGauge for $number {
            fn into_gauge(self) -> f64 {
                self as f64
            }
        }
    )+};
}

gauges!(u64 usize i64 f64);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        for Family { name, help, unit, samples } in &self.families {
            let Some(first) = samples.first() else { continue };
            let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), first.value.kind())?;
            for Sample { labels, value } in samples {
                match labels.is_empty() {
                    true => value.encode(&mut family)?,
                    false => value.encode(&mut family.encode_family(labels)?)?,
                }
            }
        }
        Ok(())
    }
}

impl Value {
    fn kind(&self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
            Self::Histogram(_) => MetricType::Histogram,
        }
    }

    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> Result<(), Error> {
        match self {
            Self::Counter(value) => encoder.encode_counter::<NoLabelSet, f64, f64>(value, None),
            Self::Gauge(value) => encoder.encode_gauge(value),
            Self::Histogram(histogram) => {
                let bounds_s = BOUNDS_NS.iter().map(|bound_ns| *bound_ns as f64 / SECOND_NS).chain([f64::MAX]);
                let buckets: Vec<(f64, u64)> = bounds_s.zip(histogram.counts).collect();
                let sum_s = histogram.sum_ns as f64 / SECOND_NS;
                encoder.encode_histogram::<NoLabelSet>(sum_s, histogram.count(), &buckets, None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_written_as_openmetrics() {
        let mut page = Page::default();
        page.counter("drops", "Messages that were dropped", 3);
        page.gauges("open_bytes", "Bytes", [(vec![("qos", "1".into())], 2.0)]);
        let mut histogram = Histogram::default();
        histogram.observe(60_000, 2);
        page.histograms("latency_seconds", "How long", [(Labels::new(), histogram)]);
        let text = page.text().unwrap();
        for line in [
            "# TYPE althing_drops counter",
            "althing_drops_total 3.0",
            "# UNIT althing_open_bytes bytes",
            "althing_open_bytes{qos=\"1\"} 2.0",
            "althing_latency_seconds_bucket{le=\"0.00005\"} 0",
            "althing_latency_seconds_bucket{le=\"0.0001\"} 2",
            "althing_latency_seconds_bucket{le=\"+Inf\"} 2",
            "althing_latency_seconds_count 2",
            "# EOF",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is missing in\n{text}");
        }
    }
}
