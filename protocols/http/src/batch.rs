//! Many messages in one request: a JSON array of objects, or one object a line.

use crate::json::object;
use crate::problem::Problem;
use althing_core::topic::TopicLimits;
use althing_core::{Guarantee, Message, Now};
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

/// Messages of one request. Each is a request to the broker, and nobody else is served meanwhile.
pub const MESSAGES_MAX: usize = 10_000;

/// The messages of a body, in order, each or what is wrong with it.
///
/// # Errors
/// When the body is neither an array nor lines, or holds too many.
pub fn read(
    body: &[u8],
    guarantee: Guarantee,
    now: Now,
    limits: &TopicLimits,
) -> Result<Vec<Result<Message, Problem>>, Problem> {
    let text = std::str::from_utf8(body).map_err(|_| Problem::bad_request("a batch must be UTF-8"))?;
    let objects: Vec<Result<&RawValue, Problem>> = if text.trim_start().starts_with('[') {
        let objects: Vec<&RawValue> = serde_json::from_str(text)
            .map_err(|error| Problem::bad_request(format!("the batch is no JSON array: {error}")))?;
        objects.into_iter().map(Ok).collect()
    } else {
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let wrong = |error| Problem::bad_request(format!("this line is no JSON object: {error}"));
        lines.take(MESSAGES_MAX + 1).map(|line| serde_json::from_str(line).map_err(wrong)).collect()
    };
    if objects.len() > MESSAGES_MAX {
        let detail = format!("a batch ends at {MESSAGES_MAX} messages");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let read = |it: &RawValue| object::read(it, guarantee, now, limits).map_err(Problem::from);
    Ok(objects.into_iter().map(|it| it.and_then(read)).collect())
}

/// What became of each message, in their order.
#[derive(Debug, Default, Serialize)]
pub struct BatchAnswer {
    accepted: usize,
    refused: usize,
    results: Vec<ItemAnswer>,
}

#[derive(Debug, Serialize)]
struct ItemAnswer {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    matched: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl BatchAnswer {
    /// One message was taken; whether anybody was subscribed.
    pub fn accepted(&mut self, status: StatusCode, matched: bool) {
        self.accepted += 1;
        self.results.push(ItemAnswer { status: status.as_u16(), matched: Some(matched), detail: None });
    }

    /// One was not.
    pub fn refused(&mut self, problem: &Problem) {
        self.refused += 1;
        let detail = Some(problem.detail.to_string());
        self.results.push(ItemAnswer { status: problem.status.as_u16(), matched: None, detail });
    }

    /// 200 when all were taken, else 207: some were, and the body tells which.
    pub fn status(&self) -> StatusCode {
        if self.refused == 0 { StatusCode::OK } else { StatusCode::MULTI_STATUS }
    }

    /// The same without what became of each, for whoever has to remember it.
    #[must_use]
    pub fn summary(&self) -> Self {
        Self { accepted: self.accepted, refused: self.refused, results: Vec::new() }
    }

    /// The body.
    pub fn body(&self) -> String {
        // Numbers and strings always have a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TopicLimits = TopicLimits { length_bytes_max: 100, levels_max: 10 };

    fn topics(body: &str) -> Vec<Result<String, u16>> {
        let messages = super::read(body.as_bytes(), Guarantee::AtLeastOnce, Now::default(), &LIMITS).unwrap();
        let shown = |message: Result<Message, Problem>| {
            message.map(|message| message.topic.to_string()).map_err(|problem| problem.status.as_u16())
        };
        messages.into_iter().map(shown).collect()
    }

    #[test]
    fn an_array_and_lines_say_the_same() {
        let expected = vec![Ok("a".to_owned()), Err(400), Ok("b".to_owned())];
        assert_eq!(topics(r#" [{"topic":"a"}, {"topic":"+"}, {"topic":"b","payload":"x"}]"#), expected);
        assert_eq!(topics("{\"topic\":\"a\"}\n{\"topic\":\"+\"}\r\n\n{\"topic\":\"b\"}\n"), expected);
        assert_eq!(topics("{\"topic\":\"a\"}\nnothing\n{\"topic\":\"b\"}"), expected);
        assert_eq!(topics("[]"), []);
    }

    #[test]
    fn too_many_and_no_json_at_all_are_refused_as_a_whole() {
        let read = |body: &str| super::read(body.as_bytes(), Guarantee::AtMostOnce, Now::default(), &LIMITS);
        assert_eq!(read("[{").unwrap_err().status, StatusCode::BAD_REQUEST);
        assert_eq!(read(&"{}\n".repeat(MESSAGES_MAX + 1)).unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(super::read(b"\xff", Guarantee::AtMostOnce, Now::default(), &LIMITS).is_err());
    }

    #[test]
    fn the_answer_tells_what_became_of_each() {
        let mut answer = BatchAnswer::default();
        answer.accepted(StatusCode::NO_CONTENT, true);
        assert_eq!(answer.status(), StatusCode::OK);
        answer.refused(&Problem::bad_request("no"));
        assert_eq!(answer.status(), StatusCode::MULTI_STATUS);
        let expected = concat!(
            r#"{"accepted":1,"refused":1,"results":[{"status":204,"matched":true},"#,
            r#"{"status":400,"detail":"no"}]}"#
        );
        assert_eq!(answer.body(), expected);
    }
}
