//! The query of a request: names and values, each decoded once. A plus sign is a plus sign, so that `?filter=a/+/b` says what
//! it looks like; a blank is `%20`.

use crate::path::percent_decoded;
use crate::problem::Problem;
use std::str::FromStr;

/// Parameters that nobody has taken yet, in order.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// The parameters of `query`, which is what follows the question mark.
    ///
    /// # Errors
    /// When an escape is none.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((percent_decoded(name)?, percent_decoded(value)?))
        });
        decoded.collect::<Result<_, Problem>>().map(Self)
    }

    /// All values of a parameter.
    pub fn all(&mut self, name: &str) -> Vec<String> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(it, _)| it == name);
        self.0 = left;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// The one value of a parameter.
    ///
    /// # Errors
    /// When it is there twice.
    pub fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name);
        match values.len() {
            0 | 1 => Ok(values.pop()),
            _ => Err(Problem::bad_request(format!("?{name}= must come once"))),
        }
    }

    /// The same as a value of another type; `expected` says what it should be.
    ///
    /// # Errors
    /// When it is none.
    pub fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.one(name)? else { return Ok(None) };
        let wrong = |_| Problem::bad_request(format!("?{name}= must be {expected}"));
        text.parse().map(Some).map_err(wrong)
    }

    /// Says what nobody has asked for: a mistyped name should not go unnoticed.
    ///
    /// # Errors
    /// When something is left.
    pub fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::bad_request(format!("?{name}= means nothing here"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once_and_a_plus_stays() {
        let mut query = Query::parse("filter=a/+/b&filter=c/%23&x=%2541&flag").unwrap();
        assert_eq!(query.all("filter"), ["a/+/b", "c/#"]);
        assert_eq!(query.one("x").unwrap().as_deref(), Some("%41"));
        assert_eq!(query.one("flag").unwrap().as_deref(), Some(""));
        query.finish().unwrap();
    }

    #[test]
    fn mistakes_are_said() {
        assert!(Query::parse("a=%g").is_err());
        assert!(Query::parse("a=1&a=2").unwrap().one("a").unwrap_err().detail.contains("once"));
        let wrong = Query::parse("wait=long").unwrap().parsed::<u32>("wait", "a number of seconds").unwrap_err();
        assert!(wrong.detail.contains("?wait= must be a number of seconds"));
        assert!(Query::parse("retian=1").unwrap().finish().unwrap_err().detail.contains("?retian="));
    }
}
