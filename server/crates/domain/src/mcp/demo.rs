//! The built-in demo server: three tools in the process, so that a first call needs nothing else. It is reached through
//! the same [`Upstream`](super::upstream::Upstream) as any other server, without a network in between.

use std::{fmt::Write as _, sync::Arc};

use super::{
    code, json,
    tools::{self},
    upstream::{Answer, Call, Method, ToolList},
};

/// Unix milliseconds, from the injected clock.
pub type Now = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The demo server.
#[derive(Clone)]
pub struct Demo {
    now: Now,
}

impl core::fmt::Debug for Demo {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Demo")
    }
}

const TOOLS: [&str; 3] = [
    r#"{"name":"echo","title":"Echo","description":"Answers with the text that it was given.","inputSchema":{"type":"object","properties":{"text":{"type":"string","description":"What to say back"}},"required":["text"],"additionalProperties":false},"annotations":{"readOnlyHint":true,"idempotentHint":true,"openWorldHint":false}}"#,
    r#"{"name":"time","title":"Current time","description":"Tells the server's time in UTC.","inputSchema":{"type":"object","additionalProperties":false},"annotations":{"readOnlyHint":true,"idempotentHint":false,"openWorldHint":false}}"#,
    r#"{"name":"add","title":"Add two numbers","description":"Adds two numbers.","inputSchema":{"type":"object","properties":{"a":{"type":"number","description":"The first number"},"b":{"type":"number","description":"The second number"}},"required":["a","b"],"additionalProperties":false},"outputSchema":{"type":"object","properties":{"sum":{"type":"number"}},"required":["sum"]},"annotations":{"readOnlyHint":true,"idempotentHint":true,"openWorldHint":false}}"#,
];

fn content(text: &str, error: bool) -> Answer {
    let text = json::quoted(text);
    Answer::result(format!(r#"{{"content":[{{"type":"text","text":{text}}}],"isError":{error}}}"#))
}

impl Demo {
    /// A demo server with this clock.
    pub fn new(now: Now) -> Self {
        Self { now }
    }

    /// Its tools.
    pub fn list_tools(prefix: usize) -> ToolList {
        let tools = TOOLS.iter().filter_map(|raw| tools::definition(raw, prefix).ok()).collect();
        ToolList { tools, dropped: Vec::new() }
    }

    /// Calls one of its tools.
    pub fn call(&self, call: &Call<'_>) -> Answer {
        if call.method != Method::CallTool {
            return Answer::error(code::METHOD_NOT_FOUND, "The demo server has tools only.");
        }
        let argument = |name| call.arguments.and_then(|arguments| json::get(arguments, name));
        match call.name {
            "echo" => match argument("text").and_then(json::string) {
                Some(text) => content(&text, false),
                None => content("Give a text to say back.", true),
            },
            "time" => content(&rfc3339((self.now)()), false),
            "add" => {
                let number = |name| argument(name).and_then(|v| v.parse::<f64>().ok());
                match (number("a"), number("b")) {
                    (Some(a), Some(b)) if (a + b).is_finite() => {
                        let sum = a + b;
                        Answer::result(format!(
                            r#"{{"content":[{{"type":"text","text":"{{\"sum\":{sum}}}"}}],"structuredContent":{{"sum":{sum}}},"isError":false}}"#
                        ))
                    }
                    _ => content("Give two numbers, a and b.", true),
                }
            }
            other => Answer::error(code::INVALID_PARAMS, &format!("Unknown tool: {other}")),
        }
    }
}

/// A time in UTC, to the second (RFC 3339). Days are turned into a date as in Howard Hinnant's `civil_from_days`.
fn rfc3339(millis: i64) -> String {
    let (days, second) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000) / 1000);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let mut out = String::with_capacity(20);
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(tool: &str, arguments: &str) -> String {
        let demo = Demo::new(Arc::new(|| 1_795_219_200_000));
        demo.call(&Call { name: tool, arguments: Some(arguments), ..Call::default() }).text().to_owned()
    }

    #[test]
    fn the_demo_answers() {
        assert_eq!(
            call("echo", r#"{"text":"a\"b"}"#),
            r#"{"content":[{"type":"text","text":"a\"b"}],"isError":false}"#
        );
        assert!(call("time", "{}").contains("2026-11-21T00:00:00Z"), "{}", call("time", "{}"));
        let sum: serde_json::Value = serde_json::from_str(&call("add", r#"{"a":1.5,"b":2}"#)).unwrap();
        assert_eq!(sum["structuredContent"]["sum"], 3.5);
        assert_eq!(sum["content"][0]["text"], r#"{"sum":3.5}"#);
        assert!(call("add", r#"{"a":"x"}"#).contains("\"isError\":true"));
        assert!(call("nothing", "{}").contains("-32602"));
        assert_eq!(Demo::list_tools(65).tools.len(), 3);
    }

    #[test]
    fn dates_are_right() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_704_067_199_999, "2023-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(millis), text);
        }
    }
}
