//! The Model Context Protocol on the wire: what the gateway's two sides share.
//!
//! Messages stay text. The gateway reads the few members it decides on and passes everything else on byte for byte,
//! because a typed model drops what it does not know and refuses what it has not heard of.
//!
//! * [`json`], [`envelope`]: find members in one checked pass. * [`sse`], [`header`]: the two encodings of HTTP.
//! * [`asks`]: what a client can be asked. * [`tools`]: tool definitions and what disqualifies one. * [`exchange`]: one HTTP request, through the egress guard.
//! * [`upstream`], [`demo`]: the client of a connector, and a server in the process that answers like one.

pub mod asks;
pub mod demo;
pub mod envelope;
pub mod exchange;
pub mod header;
pub mod json;
pub mod sse;
pub mod tools;
pub mod upstream;

/// The revision without sessions, which both sides prefer ("modern").
pub const MODERN: &str = "2026-07-28";
/// The revisions with an `initialize` handshake ("legacy"), newest first.
pub const LEGACY: &[&str] = &["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// Everything that is spoken, newest first: the `supported` list of error -32022 and of `server/discover`.
/// 2024-11-05 is missing on purpose: its own transport is not offered, only its handshake over this one.
pub const SUPPORTED: &[&str] = &[MODERN, "2025-11-25", "2025-06-18", "2025-03-26"];
/// What the absence of `MCP-Protocol-Version` means to a session (2025-06-18, transports).
pub const ASSUMED: &str = "2025-03-26";

/// Keys of `_meta` that the protocol reserves (2026-07-28, basic/index).
pub mod meta {
    /// The revision a request speaks; required.
    pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// What the client can do; required.
    pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    /// What the client calls itself.
    pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
    /// What the server calls itself, on results.
    pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
    /// From which level on log messages are wanted.
    pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    /// On what a `subscriptions/listen` brings: the id of that request.
    pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
    /// Opts into progress notifications, which repeat it.
    pub const PROGRESS_TOKEN: &str = "progressToken";
}

/// JSON-RPC error codes, of the protocol and of ours.
pub mod code {
    /// The body is not JSON.
    pub const PARSE: i64 = -32700;
    /// The envelope is not a JSON-RPC message.
    pub const INVALID_REQUEST: i64 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The parameters do not fit, or name a tool that is not there.
    pub const INVALID_PARAMS: i64 = -32602;
    /// A fault of ours.
    pub const INTERNAL: i64 = -32603;
    /// Headers and body disagree (2026-07-28).
    pub const HEADER_MISMATCH: i64 = -32020;
    /// The call needs a capability that the client did not declare (2026-07-28).
    pub const MISSING_CAPABILITY: i64 = -32021;
    /// The revision is not spoken here (2026-07-28).
    pub const UNSUPPORTED_VERSION: i64 = -32022;
    /// The upstream server cannot be reached or refuses (UPS-01).
    pub const UPSTREAM_UNAVAILABLE: i64 = -32010;
    /// The upstream server is too slow (UPS-02, UPS-03).
    pub const UPSTREAM_TIMEOUT: i64 = -32011;
    /// The upstream server does not keep to the protocol (UPS-05, UPS-06).
    pub const UPSTREAM_PROTOCOL: i64 = -32012;
    /// The upstream server's answer is over the limit (UPS-04).
    pub const UPSTREAM_TOO_LARGE: i64 = -32013;
    /// The tool waits until somebody approves its definition (UPS-13).
    pub const TOOL_QUARANTINED: i64 = -32014;
    /// No valid credential; the HTTP status is 401.
    pub const UNAUTHENTICATED: i64 = -32015;
    /// A valid credential that may not do this; 403.
    pub const FORBIDDEN: i64 = -32016;
    /// Too much at once; 429.
    pub const LIMITED: i64 = -32017;
    /// Gatehouse cannot decide just now, so it refuses; 503.
    pub const UNAVAILABLE: i64 = -32018;
}

/// How Gatehouse names itself to both sides, as a JSON object.
pub const IMPLEMENTATION: &str =
    concat!(r#"{"name":"gatehouse","title":"Gatehouse","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);
