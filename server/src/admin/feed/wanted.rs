//! What a page looks at.

use crate::admin::problem::Problem;
use althing_core::Filter;
use althing_core::topic::TopicLimits;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::sync::Arc;
use utoipa::ToSchema;

/// Rows in sight.
const COUNT_MAX: usize = 500;

/// Nodes that are open.
const OPEN_MAX: usize = 2_000;

/// Bytes of what is searched for.
const SEARCH_BYTES_MAX: usize = 256;

/// What changes; what is absent stays as it is.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
#[schema(as = FeedChange)]
pub struct Change {
    /// Nodes to open, by the ids of their rows.
    open: Vec<u64>,
    /// Nodes to close.
    close: Vec<u64>,
    /// The first row in sight.
    first: Option<usize>,
    /// How many rows are in sight: at most 500; 0, if not said.
    count: Option<usize>,
    /// Part of a topic; empty: everything.
    search: Option<String>,
    /// A topic filter; empty: everything. What is searched for or filtered comes as a list of whole topics.
    filter: Option<String>,
    /// The topic whose values are told; null: none.
    #[serde(deserialize_with = "said")]
    #[schema(value_type = Option<String>)]
    selected: Option<Option<String>>,
}

/// Tells null from absent.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What a page looks at now.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Nodes, by the ids of their rows.
    pub open: Arc<BTreeSet<u64>>,
    pub first: usize,
    pub count: usize,
    pub query: Query,
    pub selected: Option<String>,
}

/// Which topics alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    search: String,
    filter: Option<Filter>,
}

impl Wanted {
    /// Takes a change over, as a whole or not at all.
    pub fn change(&mut self, change: Change, limits: &TopicLimits) -> Result<(), Problem> {
        let Change { open, close, first, count, search, filter, selected } = change;
        if let Some(count) = count.filter(|count| *count > COUNT_MAX) {
            return Err(Problem::bad(format!("count={count} is out of range: from 0 to {COUNT_MAX}")));
        }
        if search.as_ref().is_some_and(|search| search.len() > SEARCH_BYTES_MAX) {
            return Err(Problem::bad(format!("search is longer than {SEARCH_BYTES_MAX} bytes")));
        }
        if let Some(Some(topic)) = &selected
            && topic.len() > limits.length_bytes_max
        {
            return Err(Problem::bad("selected is no topic: it is longer than topics may be"));
        }
        let parsed = match filter.as_deref() {
            None => None,
            Some("") => Some(None),
            Some(text) => match Filter::new(text.into(), limits) {
                Ok(filter) => Some(Some(filter)),
                Err(error) => return Err(Problem::bad(format!("filter={text:?} is not a topic filter: {error}"))),
            },
        };
        let mut opened = BTreeSet::clone(&self.open);
        opened.extend(open);
        opened.retain(|id| !close.contains(id));
        if opened.len() > OPEN_MAX {
            return Err(Problem::bad(format!("more than {OPEN_MAX} nodes would be open: close some first")));
        }
        self.open = Arc::new(opened);
        self.first = first.unwrap_or(self.first);
        self.count = count.unwrap_or(self.count);
        self.query.search = search.unwrap_or(std::mem::take(&mut self.query.search));
        self.query.filter = parsed.unwrap_or(self.query.filter.take());
        self.selected = selected.unwrap_or(self.selected.take());
        Ok(())
    }
}

impl Query {
    /// Whether all topics are wanted.
    pub fn is_empty(&self) -> bool {
        self.search.is_empty() && self.filter.is_none()
    }

    /// Whether a topic is among those that are wanted.
    pub fn wants(&self, topic: &str) -> bool {
        contains(topic, &self.search) && self.filter.as_ref().is_none_or(|filter| filter.matches_name(topic))
    }
}

/// Letters of ASCII count as the same in either case.
fn contains(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    part.is_empty() || text.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: &str) -> Change {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_is_not_said_stays_as_it_is() {
        let (mut wanted, limits) = (Wanted::default(), TopicLimits::default());
        wanted.change(change(r#"{"open":[1,2],"first":3,"count":4,"search":"X","selected":"a"}"#), &limits).unwrap();
        wanted.change(change(r#"{"close":[1]}"#), &limits).unwrap();
        assert_eq!((wanted.open.iter().copied().collect::<Vec<_>>(), wanted.first, wanted.count), (vec![2], 3, 4));
        assert_eq!(wanted.selected.as_deref(), Some("a"));
        wanted.change(change(r#"{"selected":null,"search":"","filter":"a/+"}"#), &limits).unwrap();
        assert_eq!(wanted.selected, None);
        assert!(wanted.query.wants("a/b") && !wanted.query.wants("a/b/c"));
    }

    #[test]
    fn what_makes_no_sense_changes_nothing() {
        let (mut wanted, limits) = (Wanted::default(), TopicLimits::default());
        let many = format!(r#"{{"first":9,"open":{:?}}}"#, (0..=OPEN_MAX).collect::<Vec<_>>());
        for wrong in [r#"{"first":9,"count":501}"#, r##"{"first":9,"filter":"a/#/b"}"##, &many] {
            assert!(wanted.change(change(wrong), &limits).is_err());
            assert_eq!((wanted.first, wanted.open.len()), (0, 0), "{wrong}");
        }
    }

    #[test]
    fn a_search_finds_parts_in_either_case() {
        let query = Query { search: "Temp".into(), filter: None };
        assert!(query.wants("house/TEMPERATURE") && query.wants("temp") && !query.wants("tem/p"));
    }
}
