//! The JSON-RPC envelope of one message, read strictly (RSV-09) and without copying.
//!
//! A member that decides something may be there once only, however it is spelled: a parser behind us might take the
//! other one. Keys are case-sensitive, batches do not exist, an id is a string or an integer.

use std::borrow::Cow;

use super::{
    code,
    json::{self, Fault, Limits, Member, scan},
    meta,
};

/// The longest id in bytes, as written; it is echoed.
const MAX_ID: usize = 1024;

/// A member that is passed on as it stands: the key between its quotes, and the value.
pub type Raw<'a> = (&'a str, &'a str);

/// One message of a client.
#[derive(Debug, Default)]
pub struct Message<'a> {
    /// The id as written, quotes included; absent on notifications.
    pub id: Option<&'a str>,
    /// The method; absent on responses.
    pub method: Option<Cow<'a, str>>,
    /// The parameters, found but not understood.
    pub params: Params<'a>,
    /// What it answers to a request of ours; nothing on requests and notifications.
    pub answer: Option<Outcome<'a>>,
}

/// The outcome of a request of ours, as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// `result`.
    Result(&'a str),
    /// `error`.
    Error(&'a str),
}

/// What is read of `params`. Values are as written.
#[derive(Debug, Default)]
pub struct Params<'a> {
    /// All of it, if present.
    pub raw: Option<&'a str>,
    /// `name`.
    pub name: Option<&'a str>,
    /// `arguments`.
    pub arguments: Option<&'a str>,
    /// `cursor`.
    pub cursor: Option<&'a str>,
    /// `uri`.
    pub uri: Option<&'a str>,
    /// `protocolVersion` of `initialize`.
    pub protocol_version: Option<&'a str>,
    /// `requestState` of the second round of a call that asked for input.
    pub request_state: Option<&'a str>,
    /// `inputResponses` of that round.
    pub input_responses: Option<&'a str>,
    /// `requestId` of `notifications/cancelled`.
    pub request_id: Option<&'a str>,
    /// `_meta`, if present.
    pub meta: Option<Meta<'a>>,
    /// Every other member but `task`, which opts into a feature that is not offered.
    pub others: Vec<Raw<'a>>,
}

/// What is read of `params._meta`. Values are as written.
#[derive(Debug, Default)]
pub struct Meta<'a> {
    /// All of it.
    pub raw: &'a str,
    /// The revision: its presence makes a request modern.
    pub protocol_version: Option<&'a str>,
    /// The client's capabilities.
    pub client_capabilities: Option<&'a str>,
    /// The level from which log messages are wanted.
    pub log_level: Option<&'a str>,
    /// The client's progress token.
    pub progress_token: Option<&'a str>,
    /// Every member that belongs to the call and not to this hop: trace context, extensions, vendors' own.
    pub others: Vec<Raw<'a>>,
}

/// Why a body is not a message. The HTTP status is 400.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    /// -32700 or -32600.
    pub code: i64,
    /// In words.
    pub reason: &'static str,
    /// The id, when it could be read.
    pub id: Option<String>,
}

impl Malformed {
    const fn new(code: i64, reason: &'static str) -> Self {
        Self { code, reason, id: None }
    }
}

/// Fills `slot`, or says that it was full.
fn once<'a>(slot: &mut Option<&'a str>, value: &'a str) -> bool {
    slot.replace(value).is_none()
}

/// Whether this is an id: a short string, or an integer without fraction and exponent.
pub fn is_id(value: &str) -> bool {
    value.len() <= MAX_ID
        && (value.starts_with('"') && json::string(value).is_some()
            || value.strip_prefix('-').unwrap_or(value).bytes().all(|b| b.is_ascii_digit()))
}

#[derive(Default)]
struct Reader<'a> {
    text: &'a str,
    message: Message<'a>,
    meta: Meta<'a>,
    version: Option<&'a str>,
    id: Option<&'a str>,
    method: Option<&'a str>,
    answer: Option<Outcome<'a>>,
    meta_raw: Option<&'a str>,
    client_info: Option<&'a str>,
    twice: bool,
}

impl<'a> Reader<'a> {
    fn member(&mut self, member: Member<'_, 'a>) {
        let value = &self.text[member.value.clone()];
        let (params, meta) = (&mut self.message.params, &mut self.meta);
        let fresh = match *member.path {
            [key] => {
                // The common spellings first; `is` also resolves escapes.
                if key.is("jsonrpc") {
                    once(&mut self.version, value)
                } else if key.is("id") {
                    once(&mut self.id, value)
                } else if key.is("method") {
                    once(&mut self.method, value)
                } else if key.is("params") {
                    once(&mut params.raw, value)
                } else if key.is("result") {
                    self.answer.replace(Outcome::Result(value)).is_none()
                } else if key.is("error") {
                    self.answer.replace(Outcome::Error(value)).is_none()
                } else {
                    true
                }
            }
            [outer, key] if outer.is("params") => {
                if key.is("name") {
                    once(&mut params.name, value)
                } else if key.is("arguments") {
                    once(&mut params.arguments, value)
                } else if key.is("_meta") {
                    once(&mut self.meta_raw, value)
                } else if key.is("cursor") {
                    once(&mut params.cursor, value)
                } else if key.is("uri") {
                    once(&mut params.uri, value)
                } else if key.is("protocolVersion") {
                    once(&mut params.protocol_version, value)
                } else if key.is("requestId") {
                    once(&mut params.request_id, value)
                } else if key.is("requestState") {
                    once(&mut params.request_state, value)
                } else if key.is("inputResponses") {
                    once(&mut params.input_responses, value)
                } else {
                    if !key.is("task") {
                        params.others.push((key.raw(), value));
                    }
                    true
                }
            }
            [outer, middle, key] if outer.is("params") && middle.is("_meta") => {
                if key.is(meta::PROTOCOL_VERSION) {
                    once(&mut meta.protocol_version, value)
                } else if key.is(meta::CLIENT_CAPABILITIES) {
                    once(&mut meta.client_capabilities, value)
                } else if key.is(meta::LOG_LEVEL) {
                    once(&mut meta.log_level, value)
                } else if key.is(meta::PROGRESS_TOKEN) {
                    once(&mut meta.progress_token, value)
                } else if key.is(meta::CLIENT_INFO) {
                    once(&mut self.client_info, value)
                } else {
                    meta.others.push((key.raw(), value));
                    true
                }
            }
            _ => true,
        };
        self.twice |= !fresh;
    }
}

/// Reads one message.
///
/// # Errors
/// [`Malformed`], with the request's id when that much could be read.
pub fn parse(body: &[u8]) -> Result<Message<'_>, Malformed> {
    let text =
        std::str::from_utf8(body).map_err(|_| Malformed::new(code::PARSE, "the body is not valid UTF-8"))?;
    let first = text.trim_start_matches([' ', '\n', '\r', '\t']).bytes().next();
    let mut reader = Reader { text, ..Reader::default() };
    let scanned = scan(text, &Limits::REQUEST, |member| reader.member(member));
    if let Err(fault) = scanned {
        let code = if fault == Fault::Syntax { code::PARSE } else { code::INVALID_REQUEST };
        return Err(Malformed::new(code, fault.as_str()));
    }
    let id = reader.id.filter(|id| is_id(id));
    let refuse = |reason| {
        Err(Malformed {
            code: code::INVALID_REQUEST,
            reason,
            id: id.filter(|_| !reader.twice).map(str::to_owned),
        })
    };
    match first {
        Some(b'{') => {}
        Some(b'[') => return refuse("batches are not supported: send one message per request"),
        _ => return refuse("the body is not a JSON-RPC message"),
    }
    if reader.twice {
        return refuse("a member is there twice");
    }
    if reader.version.and_then(json::string).as_deref() != Some("2.0") {
        return refuse("\"jsonrpc\" must be \"2.0\"");
    }
    if reader.id.is_some() && id.is_none() {
        return refuse("\"id\" must be a string or an integer");
    }
    let method = match reader.method.map(json::string) {
        None => None,
        Some(Some(method)) => Some(method),
        Some(None) => return refuse("\"method\" must be a string"),
    };
    let response = reader.answer.is_some();
    if method.is_some() == response || (response && id.is_none()) {
        return refuse("a message is a request, a notification or a response");
    }
    if reader.message.params.raw.is_some_and(|params| !params.starts_with('{')) {
        return refuse("\"params\" must be an object");
    }
    if reader.meta_raw.is_some_and(|meta| !meta.starts_with('{')) {
        return refuse("\"_meta\" must be an object");
    }
    let mut message = reader.message;
    let mut meta = reader.meta;
    message.params.meta = reader.meta_raw.map(|raw| {
        meta.raw = raw;
        meta
    });
    message.id = id;
    message.method = method;
    message.answer = reader.answer;
    Ok(message)
}

/// A message of an upstream server, found in its text. Offsets and values are of that text.
#[derive(Debug, Default)]
pub struct Incoming<'a> {
    /// The id as written.
    pub id: Option<&'a str>,
    /// The method, on requests and notifications.
    pub method: Option<Cow<'a, str>>,
    /// The parameters as written.
    pub params: Option<&'a str>,
    /// The result as written.
    pub result: Option<&'a str>,
    /// The error as written.
    pub error: Option<&'a str>,
    /// `error.code`.
    pub error_code: Option<i64>,
    /// `result.resultType`: where the member stands, and what it says.
    pub result_type: Option<(usize, std::ops::Range<usize>)>,
    /// `params.progressToken`: where the value stands.
    pub progress_token: Option<std::ops::Range<usize>>,
    /// Where the result starts.
    pub result_at: usize,
    /// Where the parameters start.
    pub params_at: usize,
}

/// Reads a message of an upstream server. Here leniency harms nobody, but what cannot be told apart is refused: nothing
/// for text that is no JSON-RPC message, has a deciding member twice, or both a result and an error (UPS-05, UPS-06).
pub fn incoming(text: &str) -> Option<Incoming<'_>> {
    let mut found = Incoming::default();
    let (mut version, mut method, mut error_code) = (None, None, None);
    let mut fresh = true;
    scan(text, &Limits::REPLY, |member| {
        let value = &text[member.value.clone()];
        match *member.path {
            [key] => {
                fresh &= if key.is("id") {
                    once(&mut found.id, value)
                } else if key.is("result") {
                    found.result_at = member.value.start;
                    once(&mut found.result, value)
                } else if key.is("error") {
                    once(&mut found.error, value)
                } else if key.is("method") {
                    once(&mut method, value)
                } else if key.is("params") {
                    found.params_at = member.value.start;
                    once(&mut found.params, value)
                } else if key.is("jsonrpc") {
                    once(&mut version, value)
                } else {
                    true
                };
            }
            [outer, key] if key.is("resultType") && outer.is("result") => {
                fresh &= found.result_type.replace((member.at, member.value)).is_none();
            }
            [outer, key] if key.is("progressToken") && outer.is("params") => {
                fresh &= found.progress_token.replace(member.value).is_none();
            }
            [outer, key] if key.is("code") && outer.is("error") => {
                fresh &= once(&mut error_code, value);
            }
            _ => {}
        }
    })
    .ok()?;
    found.method = match method {
        Some(method) => Some(json::string(method)?),
        None => None,
    };
    found.error_code = error_code.and_then(|code| code.parse().ok());
    let answers = usize::from(found.result.is_some()) + usize::from(found.error.is_some());
    let sound = fresh
        && version.and_then(json::string).as_deref() == Some("2.0")
        && answers + usize::from(found.method.is_some()) == 1
        && found.result.is_none_or(|result| result.starts_with('{'))
        && found.error.is_none_or(|error| error.starts_with('{') && found.error_code.is_some());
    sound.then_some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code_of(body: &str) -> i64 {
        parse(body.as_bytes()).err().map_or(0, |e| e.code)
    }

    #[test]
    fn rsv_09_a_request_is_read_without_copies() {
        let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a__b","arguments":{"x":[1,{"name":2}]},
            "_meta":{"progressToken":"p","traceparent":"00-1","io.modelcontextprotocol/protocolVersion":"2026-07-28"},"future":true,"task":{}}}"#;
        let message = parse(body.as_bytes()).unwrap();
        assert_eq!(message.id, Some("7"));
        assert!(matches!(message.method, Some(Cow::Borrowed("tools/call"))));
        assert_eq!(message.params.name, Some("\"a__b\""));
        assert_eq!(message.params.arguments, Some(r#"{"x":[1,{"name":2}]}"#));
        assert_eq!(message.params.others, [("future", "true")]);
        let meta = message.params.meta.unwrap();
        assert_eq!(meta.progress_token, Some("\"p\""));
        assert_eq!(meta.protocol_version, Some("\"2026-07-28\""));
        assert_eq!(meta.others, [("traceparent", "\"00-1\"")]);
    }

    #[test]
    fn rsv_09_duplicate_keys_are_refused() {
        for body in [
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","m\u0065thod":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{},"params":{"name":"x"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","name":"y"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","n\u0061me":"y"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{},"_meta":{}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":{"progressToken":1,"progressToken":2}}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{},"arguments":{}}}"#,
            r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"ping"}"#,
        ] {
            assert_eq!(code_of(body), code::INVALID_REQUEST, "{body}");
        }
    }

    #[test]
    fn rsv_09_keys_are_case_sensitive() {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"Name":"x","name":"y"}}"#;
        let message = parse(body.as_bytes()).unwrap();
        assert_eq!(message.method.as_deref(), Some("ping"));
        assert_eq!(message.params.name, Some("\"y\""));
        assert_eq!(code_of(r#"{"jsonrpc":"2.0","id":1,"Method":"ping"}"#), code::INVALID_REQUEST);
    }

    #[test]
    fn rsv_09_batches_and_other_ids_are_refused() {
        for body in [
            r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#,
            "[]",
            "1",
            "\"x\"",
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1e3,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":"\ud800","method":"ping"}"#,
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"_meta":7}}"#,
        ] {
            assert_eq!(code_of(body), code::INVALID_REQUEST, "{body}");
        }
        for (body, id) in [
            (r#"{"jsonrpc":"2.0","id":-7,"method":"ping"}"#, "-7"),
            (r#"{"jsonrpc":"2.0","id":"","method":"ping"}"#, "\"\""),
            (r#"{"jsonrpc":"2.0","id":12345678901234567890123,"method":"ping"}"#, "12345678901234567890123"),
        ] {
            assert_eq!(parse(body.as_bytes()).unwrap().id, Some(id));
        }
    }

    #[test]
    fn rsv_09_the_id_is_known_in_the_refusal() {
        let error = parse(br#"{"jsonrpc":"1.0","id":"a","method":"ping"}"#).unwrap_err();
        assert_eq!(error.id.as_deref(), Some("\"a\""));
    }

    #[test]
    fn req_02_limits_are_invalid_requests() {
        assert_eq!(code_of(&"[".repeat(100_000)), code::INVALID_REQUEST);
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#,
            "{\"a\":".repeat(64),
            "}".repeat(64)
        );
        assert_eq!(code_of(&deep), code::INVALID_REQUEST);
    }

    #[test]
    fn req_03_broken_text_is_a_parse_error() {
        assert_eq!(parse(b"{\"jsonrpc\":\"\xff\"}").unwrap_err().code, code::PARSE);
        for body in ["", "{", "{\"jsonrpc\":\"2.0\",}", "{} {}", "\u{feff}{}", "{'a':1}", "NaN"] {
            assert_eq!(code_of(body), code::PARSE, "{body}");
        }
        // Half a surrogate pair is legal JSON: where it is only passed on, it is passed on.
        let message =
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":{"x":"\ud800"}}}"#;
        assert!(parse(message.as_bytes()).is_ok());
    }

    #[test]
    fn ups_06_ambiguous_answers_are_no_answers() {
        assert!(incoming(r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete"}}"#).is_some());
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{}}"#,
            r#"{"id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":[]}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","resultType":"input_required"}}"#,
        ] {
            assert!(incoming(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn rsv_09_no_bytes_break_the_reader(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&body);
        }

        #[test]
        fn rsv_09_what_was_written_is_read(id: i64, name: String, argument: String) {
            let body = serde_json::json!({"jsonrpc":"2.0","id":id,"method":"tools/call","params":{"name":name,"arguments":{"v":argument}}}).to_string();
            let message = parse(body.as_bytes()).unwrap();
            prop_assert_eq!(message.id.unwrap(), id.to_string());
            let read = json::string(message.params.name.unwrap()).unwrap();
            prop_assert_eq!(read.as_ref(), name.as_str());
            let arguments: serde_json::Value = serde_json::from_str(message.params.arguments.unwrap()).unwrap();
            prop_assert_eq!(arguments["v"].as_str().unwrap(), argument);
        }
    }
}
