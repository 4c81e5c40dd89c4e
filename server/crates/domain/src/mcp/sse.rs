//! Server-sent events (WHATWG HTML §9.2), read as they arrive and written.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

/// The longest id of an event; it is sent back in a header.
const MAX_ID: usize = 1024;

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's type, unless it is the default, `message`.
    pub kind: Option<String>,
    /// Its data: lines joined by a line feed.
    pub data: Bytes,
}

/// What an event over the cap is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Reads events from chunks that may end anywhere. It holds at most one event, bounded by a cap (UPS-04).
#[derive(Debug)]
pub struct Decoder {
    /// Bytes that were not looked at to their end; starts at the beginning of a line.
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no end of line.
    searched: usize,
    data: BytesMut,
    has_data: bool,
    kind: Option<String>,
    cap: usize,
    started: bool,
    comments: u64,
    /// The id of the last event that has one, and how long the server wants a client to wait before it connects again.
    last_id: Option<Box<str>>,
    retry: Option<Duration>,
}

impl Decoder {
    /// A decoder for one stream whose events may have `cap` bytes.
    pub fn new(cap: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            data: BytesMut::new(),
            has_data: false,
            kind: None,
            cap,
            started: false,
            comments: 0,
            last_id: None,
            retry: None,
        }
    }

    /// The id of the last event that had one: from there a stream can be resumed.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How long the server wants a client to wait before it connects again.
    pub const fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Another stream goes on where this one broke off: what was not finished will not be.
    pub fn begin_again(&mut self) {
        self.buffer.clear();
        self.data.clear();
        (self.searched, self.has_data, self.kind, self.started) = (0, false, None, false);
    }

    /// Adds what has arrived.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole event.
    ///
    /// # Errors
    /// [`TooLarge`] when the event, finished or not, is over the cap.
    pub fn take(&mut self) -> Result<Option<Event>, TooLarge> {
        loop {
            if self.buffer.len().saturating_add(self.data.len()) > self.cap && self.line_end().is_none() {
                return Err(TooLarge);
            }
            let Some((end, skip)) = self.line_end() else { return Ok(None) };
            let line = self.buffer.split_to(end).freeze();
            self.buffer.advance(skip);
            self.searched = 0;
            if let Some(event) = self.line(line)? {
                return Ok(Some(event));
            }
        }
    }

    /// Where the first line ends and how long its end is. A carriage return at the very end is left alone: the line
    /// feed that belongs to it may be in the next chunk.
    fn line_end(&mut self) -> Option<(usize, usize)> {
        let found = self.buffer[self.searched..].iter().position(|b| matches!(b, b'\n' | b'\r'));
        let Some(offset) = found else {
            self.searched = self.buffer.len();
            return None;
        };
        let at = self.searched + offset;
        if self.buffer[at] == b'\n' {
            return Some((at, 1));
        }
        match self.buffer.get(at + 1) {
            Some(b'\n') => Some((at, 2)),
            Some(_) => Some((at, 1)),
            None => {
                self.searched = at;
                None
            }
        }
    }

    fn line(&mut self, mut line: Bytes) -> Result<Option<Event>, TooLarge> {
        if !self.started {
            self.started = true;
            if line.starts_with(b"\xEF\xBB\xBF") {
                line.advance(3);
            }
        }
        if line.is_empty() {
            let kind = self.kind.take();
            if !std::mem::take(&mut self.has_data) {
                return Ok(None);
            }
            return Ok(Some(Event { kind, data: self.data.split().freeze() }));
        }
        let (name, value) = match line.iter().position(|&b| b == b':') {
            Some(0) => {
                self.comments += 1;
                return Ok(None);
            }
            Some(colon) => {
                let mut value = line.split_off(colon);
                value.advance(if value.get(1) == Some(&b' ') { 2 } else { 1 });
                (line, value)
            }
            None => (line, Bytes::new()),
        };
        match &name[..] {
            b"data" => {
                if self.has_data {
                    self.data.extend_from_slice(b"\n");
                }
                if self.data.len() + value.len() > self.cap {
                    return Err(TooLarge);
                }
                if self.data.is_empty() {
                    // The common case, one line: no copy.
                    self.data = BytesMut::from(value);
                } else {
                    self.data.extend_from_slice(&value);
                }
                self.has_data = true;
            }
            b"event" => {
                self.kind = std::str::from_utf8(&value).ok().filter(|k| *k != "message").map(str::to_owned);
            }
            b"id" if value.len() <= MAX_ID && !value.contains(&0) => {
                self.last_id = std::str::from_utf8(&value).ok().filter(|id| !id.is_empty()).map(Box::from);
            }
            b"retry" => {
                let digits =
                    std::str::from_utf8(&value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
                self.retry = digits.and_then(|v| v.parse().ok()).map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
        Ok(None)
    }
}

/// Appends one event of type `message`. `data` may have line breaks (pretty-printed JSON): each line gets its field.
pub fn encode(out: &mut Vec<u8>, data: &[u8]) {
    out.reserve(data.len() + 24);
    out.extend_from_slice(b"event: message\n");
    for line in data.split(|b| matches!(b, b'\n' | b'\r')) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(decoder: &mut Decoder) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = decoder.take().unwrap() {
            events.push(format!(
                "{}|{}",
                event.kind.unwrap_or_default(),
                String::from_utf8_lossy(&event.data)
            ));
        }
        events
    }

    #[test]
    fn events_are_read_in_every_spelling() {
        let text = "\u{feff}: hello\r\n\r\ndata: a\rdata:b\n\nevent: endpoint\ndata: /x\r\n\r\nid: 7\nretry: 5\n\nevent: message\ndata\n\ndata: {\"x\":\":\"}\n\n";
        let mut decoder = Decoder::new(1000);
        decoder.push(text.as_bytes());
        assert_eq!(all(&mut decoder), ["|a\nb", "endpoint|/x", "|", "|{\"x\":\":\"}"]);
    }

    #[test]
    fn ups_04_an_event_over_the_cap_is_refused() {
        let mut decoder = Decoder::new(100);
        decoder.push(b"data: ");
        decoder.push(&[b'x'; 200]);
        assert_eq!(decoder.take(), Err(TooLarge));
        let mut decoder = Decoder::new(100);
        for _ in 0..30 {
            decoder.push(b"data: 12345\n");
        }
        assert_eq!(decoder.take(), Err(TooLarge));
        let mut decoder = Decoder::new(100);
        for _ in 0..1000 {
            decoder.push(b"data: 12345\n\n");
            assert!(decoder.take().unwrap().is_some());
        }
    }

    #[test]
    fn an_unfinished_event_is_not_delivered() {
        let mut decoder = Decoder::new(100);
        decoder.push(b"data: a\n");
        assert_eq!(decoder.take(), Ok(None));
    }

    proptest! {
        #[test]
        fn chunks_may_end_anywhere(lines in proptest::collection::vec("[ -~]{0,20}", 1..6), size in 1usize..7, crlf: bool) {
            let mut written = Vec::new();
            for line in &lines {
                encode(&mut written, line.as_bytes());
            }
            if crlf {
                written = String::from_utf8(written).unwrap().replace('\n', "\r\n").into_bytes();
            }
            let mut decoder = Decoder::new(1000);
            let mut read = Vec::new();
            for chunk in written.chunks(size) {
                decoder.push(chunk);
                read.extend(all(&mut decoder));
            }
            // The last carriage return waits for its line feed; another byte settles it.
            decoder.push(b":\n");
            read.extend(all(&mut decoder));
            let want: Vec<_> = lines.iter().map(|l| format!("|{l}")).collect();
            prop_assert_eq!(read, want);
        }
    }
}
