//! The last lines of a server's standard error, and what happened to its processes.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use secrecy::{ExposeSecret as _, SecretString};

/// Lines that are kept of one connector.
const LINES: usize = 300;
/// Bytes that are kept of one connector.
const BYTES: usize = 64 << 10;
/// Bytes that are kept of one line.
pub(super) const LINE: usize = 2 << 10;
/// Secrets shorter than this are words that could stand anywhere.
const SHORT: usize = 6;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it came, Unix milliseconds.
    pub at: i64,
    /// Whether it is Gatehouse's own: what happened to the process.
    pub own: bool,
    /// The line, without control characters. It is the server's: untrusted text.
    pub text: String,
}

#[derive(Debug, Default)]
struct Lines {
    lines: VecDeque<(i64, bool, Box<[u8]>)>,
    bytes: usize,
}

/// A bounded log. What comes is kept as it is; what it means is worked out when somebody looks.
#[derive(Debug, Default)]
pub(super) struct Log(Mutex<Lines>);

impl Log {
    pub(super) fn push(&self, at: i64, own: bool, line: &[u8]) {
        let line = &line[..line.len().min(LINE)];
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes += line.len();
        kept.lines.push_back((at, own, line.into()));
        while kept.lines.len() > LINES || kept.bytes > BYTES {
            let Some((.., oldest)) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.len();
        }
    }

    /// What is kept, the oldest first, without the values of these secrets.
    pub(super) fn read(&self, secrets: &[(String, SecretString)]) -> Vec<LogLine> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.lines
            .iter()
            .map(|(at, own, line)| LogLine { at: *at, own: *own, text: shown(line, secrets) })
            .collect()
    }
}

fn shown(line: &[u8], secrets: &[(String, SecretString)]) -> String {
    let mut text = String::from_utf8_lossy(line).into_owned();
    for (name, value) in secrets {
        let value = value.expose_secret();
        if value.len() >= SHORT && name != "PATH" && name != "HOME" && text.contains(value) {
            text = text.replace(value, &format!("[{name}]"));
        }
    }
    let mut plain = String::with_capacity(text.len());
    let mut escape = false;
    for c in text.chars() {
        // Colours: ESC [ … letter.
        if escape {
            escape = !c.is_ascii_alphabetic();
        } else if c == '\u{1b}' {
            escape = true;
        } else if c == '\t' {
            plain.push(' ');
        } else if !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_the_last_lines_and_no_more() {
        let log = Log::default();
        for n in 0..100_000 {
            log.push(n, false, format!("line {n}").as_bytes());
        }
        let lines = log.read(&[]);
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines.last().unwrap().text, "line 99999");
        for _ in 0..100 {
            log.push(0, false, &vec![b'x'; 1 << 20]);
        }
        let lines = log.read(&[]);
        assert!(lines.iter().map(|line| line.text.len()).sum::<usize>() <= BYTES);
        assert!(lines.iter().all(|line| line.text.len() <= LINE));
    }

    #[test]
    fn secrets_and_control_characters_are_not_shown() {
        let log = Log::default();
        log.push(1, false, b"\x1b[31mtoken=hunter2hunter2\x1b[0m\tdone\x07 \xff");
        let secrets = [("TOKEN".to_owned(), SecretString::from("hunter2hunter2".to_owned()))];
        assert_eq!(log.read(&secrets)[0].text, "token=[TOKEN] done \u{fffd}");
    }
}
