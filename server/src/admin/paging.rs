//! Long lists, page by page, read from the shard slice by slice.

use super::problem::Problem;
use althing_core::inspect::Slice;
use althing_net::{Handle, Inside};
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use utoipa::{IntoParams, ToSchema};

/// Places that the shard looks at in one go: well below a millisecond.
pub const VISITS_MAX: usize = 1_024;

const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// How far into a sorted list one may ask: all before it is held in memory meanwhile.
const OFFSET_MAX: usize = 100_000;

/// Which page.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct PageQuery {
    /// Entries of a page: 100, if not said; at most 1000.
    pub limit: Option<usize>,
    /// Where an unsorted list goes on: `next` of the page before.
    pub cursor: Option<String>,
    /// Entries of a sorted list before the page; at most 100000.
    pub offset: Option<usize>,
    /// The field to sort by; with `-` before it the largest come first. Unsorted lists are cheaper.
    pub sort: Option<String>,
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// The `cursor` of the next page of an unsorted list; absent at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many there are altogether; only sorted lists know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<usize>,
}

impl<T> Page<T> {
    /// The same page of other things.
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(change).collect(), next: self.next, total: self.total }
    }
}

/// What entries are sorted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A number.
    Number(u64),
    /// A text.
    Text(ByteString),
}

impl From<usize> for Key {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

/// A field that a list can be sorted by.
pub type Field<T> = (&'static str, fn(&T) -> Key);

/// Reads the page that `query` asks for; `slice` looks at so many places from a place on.
pub async fn page<T, F>(shard: &Handle, query: &PageQuery, fields: &[Field<T>], slice: F) -> Result<Page<T>, Problem>
where
    T: Send + 'static,
    F: Fn(&Inside<'_>, u64, usize) -> Slice<T> + Clone + Send + 'static,
{
    let limit = query.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad(format!("limit={limit} is out of range: from 1 to {LIMIT_MAX}")));
    }
    match &query.sort {
        None => unsorted(shard, query, limit, slice).await,
        Some(sort) => {
            let order = Sorting::new(sort, fields)?;
            sorted(shard, query.offset.unwrap_or(0), limit, order, slice).await
        }
    }
}

async fn unsorted<T, F>(shard: &Handle, query: &PageQuery, limit: usize, slice: F) -> Result<Page<T>, Problem>
where
    T: Send + 'static,
    F: Fn(&Inside<'_>, u64, usize) -> Slice<T> + Clone + Send + 'static,
{
    if query.offset.is_some() {
        return Err(Problem::bad("offset is for sorted lists: add sort=FIELD, or go on with cursor"));
    }
    let cursor = query.cursor.as_deref().unwrap_or("0").parse();
    let mut from = cursor.map_err(|_| Problem::bad("cursor is not one of ours: take `next` of the page before"))?;
    let mut items = Vec::new();
    loop {
        let (slice, visits_max) = (slice.clone(), (limit - items.len()).min(VISITS_MAX));
        let found = shard.run(move |inside| slice(inside, from, visits_max)).await?;
        items.extend(found.items);
        match found.next {
            Some(next) if items.len() < limit => from = next,
            next => return Ok(Page { items, next: next.map(|next| next.to_string()), total: None }),
        }
    }
}

/// Walks the whole list and keeps the first `offset + limit` in the order that is asked for.
async fn sorted<T, F>(
    shard: &Handle,
    offset: usize,
    limit: usize,
    order: Sorting<T>,
    slice: F,
) -> Result<Page<T>, Problem>
where
    T: Send + 'static,
    F: Fn(&Inside<'_>, u64, usize) -> Slice<T> + Clone + Send + 'static,
{
    if offset > OFFSET_MAX {
        let text = format!("offset={offset} is out of range: from 0 to {OFFSET_MAX}; unsorted lists have no end");
        return Err(Problem::bad(text));
    }
    let (kept_max, mut kept, mut total) = (offset + limit, Vec::new(), 0);
    let mut from = Some(0);
    while let Some(place) = from {
        let slice = slice.clone();
        let found = shard.run(move |inside| slice(inside, place, VISITS_MAX)).await?;
        total += found.items.len();
        kept.extend(found.items.into_iter().map(|item| ((order.field)(&item), item)));
        if kept.len() > 2 * kept_max {
            kept.select_nth_unstable_by(kept_max, |one, other| order.compare(&one.0, &other.0));
            kept.truncate(kept_max);
        }
        from = found.next;
    }
    kept.sort_by(|one, other| order.compare(&one.0, &other.0));
    let items = kept.into_iter().skip(offset).take(limit).map(|(_, item)| item).collect();
    Ok(Page { items, next: None, total: Some(total) })
}

struct Sorting<T> {
    field: fn(&T) -> Key,
    descends: bool,
}

impl<T> Sorting<T> {
    fn new(sort: &str, fields: &[Field<T>]) -> Result<Self, Problem> {
        let (name, descends) = sort.strip_prefix('-').map_or((sort, false), |name| (name, true));
        let field = fields.iter().find(|(field, _)| *field == name);
        field.map(|(_, field)| Self { field: *field, descends }).ok_or_else(|| {
            let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            Problem::bad(format!("this list cannot be sorted by {name:?}; by one of: {}", names.join(", ")))
        })
    }

    fn compare(&self, one: &Key, other: &Key) -> Ordering {
        let order = one.cmp(other);
        if self.descends { order.reverse() } else { order }
    }
}
