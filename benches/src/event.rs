//! Hides what is published: one event of ordinary size, alone or in a batch, as bytes that are ready to be sent.

/// An event as it is published.
pub(crate) const EVENT: &str = r#"{"type":"document.viewed","data":{"dealRoomId":"0198a6f0-3a5b-7c1d-9e2f-0123456789ab","documentId":"0198a6f0-3a5b-7c1d-9e2f-0123456789ac","linkId":"0198a6f0-3a5b-7c1d-9e2f-0123456789ad","viewerEmail":"ada@example.com","pageCount":12,"duration":184,"timestamp":"2026-04-01T12:00:00.000Z"}}"#;

/// The field that carries the moment at which an event was due, in as many digits as any has. It
/// passes through the service, as unknown fields of `data` do.
const DUE_FIELD: &str = r#","due":""#;
const DUE_DIGITS: usize = 16;

/// A request that publishes, byte for byte.
#[derive(Clone)]
pub(crate) struct Publication {
    bytes: Vec<u8>,
    /// Where the digits of the due moment start, where it has one.
    due_at: Option<usize>,
}

impl Publication {
    /// One event.
    pub(crate) fn single(key: &str) -> Self {
        Self {
            bytes: request("/v1/events", key, EVENT),
            due_at: None,
        }
    }

    /// So many events in one call.
    pub(crate) fn batch(key: &str, events: usize) -> Self {
        let body = format!(r#"{{"events":[{}]}}"#, vec![EVENT; events].join(","));
        Self {
            bytes: request("/v1/events/batch", key, &body),
            due_at: None,
        }
    }

    /// One event that says when it was due.
    pub(crate) fn timed(key: &str) -> Self {
        let (event, end) = EVENT.split_at(EVENT.len() - "}}".len());
        let body = format!(r#"{event}{DUE_FIELD}{:0DUE_DIGITS$}"{end}"#, 0);
        let bytes = request("/v1/events", key, &body);
        let due_at = bytes.len() - end.len() - "\"".len() - DUE_DIGITS;
        Self {
            bytes,
            due_at: Some(due_at),
        }
    }

    /// Writes down when it was due.
    pub(crate) fn set_due(&mut self, due_us: u64) {
        if let Some(at) = self.due_at {
            let digits = format!("{due_us:0DUE_DIGITS$}");
            self.bytes[at..at + DUE_DIGITS].copy_from_slice(digits.as_bytes());
        }
    }

    /// What is sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// When a delivered event was due; none where it does not say.
pub(crate) fn due_of(body: &[u8]) -> Option<u64> {
    // It is the last field of `data`, so its digits stand at a known distance from the end.
    let end = body.len().checked_sub("\"}}".len())?;
    let digits = body.get(end.checked_sub(DUE_DIGITS)?..end)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

fn request(path: &str, key: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         x-api-key: {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(publication: &Publication) -> &str {
        let text = str::from_utf8(publication.bytes()).unwrap();
        text.split_once("\r\n\r\n").unwrap().1
    }

    #[test]
    fn the_due_moment_is_found_again_and_the_rest_is_the_event() {
        let mut timed = Publication::timed("key");
        timed.set_due(1_234_567_890_123);
        let body = body(&timed);
        assert_eq!(due_of(body.as_bytes()), Some(1_234_567_890_123));
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(value["data"]["due"], "0001234567890123");
        assert_eq!(due_of(EVENT.as_bytes()), None, "a plain event has none");
    }

    #[test]
    fn a_batch_is_json_of_so_many_events() {
        let batch = Publication::batch("key", 3);
        let value: serde_json::Value = serde_json::from_str(body(&batch)).unwrap();
        assert_eq!(value["events"].as_array().unwrap().len(), 3);
    }
}
