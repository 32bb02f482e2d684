//! Hides HTTP/1.1 as far as the bench's own ends speak it: one message after the other, with a length.
//!
//! The ends share the processor with what is measured, so they do no more than this.

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Reads messages from a connection.
#[derive(Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    /// How many bytes of the buffer belong to the message that was handed out last.
    taken: usize,
}

/// A message, borrowed from its reader.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// The first line: what is asked for, or the status.
    pub(crate) first_line: &'a [u8],
    pub(crate) body: &'a [u8],
}

/// Where the parts of a message are in the buffer.
struct Parts {
    first_line: usize,
    head: usize,
    body: usize,
}

impl Reader {
    /// The next message; none where the other side has closed in between.
    pub(crate) async fn next(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<Message<'_>>> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let parts = loop {
            if let Some(parts) = parts(&self.buffer)?
                && self.buffer.len() >= parts.head + parts.body
            {
                break parts;
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                bail!("the connection ended inside a message");
            }
        };
        self.taken = parts.head + parts.body;
        Ok(Some(Message {
            first_line: &self.buffer[..parts.first_line],
            body: &self.buffer[parts.head..self.taken],
        }))
    }
}

/// The parts of the message that the buffer begins with; none while its head is not whole.
fn parts(buffer: &[u8]) -> Result<Option<Parts>> {
    const LENGTH: &[u8] = b"content-length:";
    let (mut first_line, mut body, mut at) = (None, 0, 0);
    while let Some(length) = buffer[at..].iter().position(|byte| *byte == b'\n') {
        let line = buffer[at..at + length].trim_ascii_end();
        at += length + 1;
        if first_line.is_none() {
            first_line = Some(line.len());
        } else if line.is_empty() {
            return Ok(first_line.map(|first_line| Parts {
                first_line,
                head: at,
                body,
            }));
        } else if line.len() > LENGTH.len() && line[..LENGTH.len()].eq_ignore_ascii_case(LENGTH) {
            let digits = str::from_utf8(line[LENGTH.len()..].trim_ascii())?;
            body = digits.parse().context("a message's length")?;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8]) -> Vec<Result<(String, String)>> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (mut reader, mut messages) = (Reader::default(), Vec::new());
        loop {
            match reader.next(&mut bytes).await {
                Ok(None) => return messages,
                Ok(Some(message)) => {
                    messages.push(Ok((text(message.first_line), text(message.body))));
                }
                Err(error) => {
                    messages.push(Err(error));
                    return messages;
                }
            }
        }
    }

    #[tokio::test]
    async fn messages_are_read_one_after_the_other() {
        let bytes = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
            HTTP/1.1 202 Accepted\r\ncontent-length:0\r\n\r\n";
        let messages: Vec<_> = read(bytes).await.into_iter().map(Result::unwrap).collect();
        let message = |line: &str, body: &str| (line.to_owned(), body.to_owned());
        assert_eq!(
            messages,
            [
                message("POST /a HTTP/1.1", "abc"),
                message("HTTP/1.1 202 Accepted", "")
            ]
        );
    }

    #[tokio::test]
    async fn a_message_that_breaks_off_is_an_error() {
        for bytes in [
            "POST / HT",
            "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab",
        ] {
            assert!(read(bytes.as_bytes()).await.pop().unwrap().is_err());
        }
    }
}
