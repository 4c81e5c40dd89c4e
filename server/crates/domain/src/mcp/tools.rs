//! Tool definitions: what disqualifies one, and which of its arguments travel as headers.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, value::RawValue};

use super::{header, json};

/// The longest public tool name (2026-07-28, server/tools).
pub const MAX_NAME: usize = 128;
/// What stands between a connector's slug and the tool's own name.
pub const SEPARATOR: &str = "__";

/// One tool as its server defined it.
#[derive(Clone, Debug)]
pub struct ToolDefinition {
    /// Its name upstream.
    pub name: String,
    /// The definition, byte for byte.
    pub raw: Box<RawValue>,
}

/// A tool that is not offered, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedTool {
    /// Its name, or a part of it.
    pub name: String,
    /// In words.
    pub reason: &'static str,
}

/// Whether a tool may have this name behind a prefix of `prefix` bytes: `[A-Za-z0-9_.-]`, 128 characters in all
/// (UPS-12).
pub fn is_name(name: &str, prefix: usize) -> bool {
    !name.is_empty()
        && name.len() + prefix <= MAX_NAME
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Reads one definition of a `tools/list` result. `prefix` is the length of what will stand before its name.
///
/// # Errors
/// The [`DroppedTool`] to log.
pub fn definition(raw: &str, prefix: usize) -> Result<ToolDefinition, DroppedTool> {
    let name = json::get(raw, "name").and_then(json::string).unwrap_or_default();
    let drop = |reason| Err(DroppedTool { name: name.chars().take(64).collect(), reason });
    if !is_name(&name, prefix) {
        return drop(
            "its name is longer than allowed or has other characters than A-Z, a-z, 0-9, _, - and .",
        );
    }
    let Some(schema) = json::get(raw, "inputSchema").filter(|schema| schema.starts_with('{')) else {
        return drop("it has no input schema");
    };
    if let Err(reason) = param_headers(schema) {
        return drop(reason);
    }
    match RawValue::from_string(raw.to_owned()) {
        Ok(raw) => Ok(ToolDefinition { name: name.into_owned(), raw }),
        Err(_) => drop("its definition is not JSON"),
    }
}

/// A definition with another description, otherwise byte for byte.
pub fn with_description(definition: &str, description: &str) -> String {
    let description = json::quoted(description);
    if let Some((_, value, _)) = json::members(definition).find(|(key, ..)| key.is("description")) {
        let at = value.as_ptr() as usize - definition.as_ptr() as usize;
        return format!("{}{description}{}", &definition[..at], &definition[at + value.len()..]);
    }
    let rest = definition.trim_start().strip_prefix('{').unwrap_or_default();
    format!(r#"{{"description":{description},{rest}"#)
}

/// An argument that travels as a header as well (`x-mcp-header`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamHeader {
    /// The properties that lead to it.
    pub path: Vec<String>,
    /// `mcp-param-…`.
    pub header: HeaderName,
}

/// Which arguments a schema marks with `x-mcp-header`.
///
/// # Errors
/// Why the marks are not valid, which disqualifies the whole tool (2026-07-28, "Custom Headers from Tool Parameters").
pub fn param_headers(schema: &str) -> Result<Vec<ParamHeader>, &'static str> {
    // Nearly no schema has the mark, in plain or in escapes: those are not parsed.
    if !schema.contains("x-mcp-header") && !schema.contains("\\u00") {
        return Ok(Vec::new());
    }
    let Ok(Value::Object(root)) = serde_json::from_str::<Value>(schema) else {
        return Err("its input schema is not valid");
    };
    let mut found = Vec::new();
    walk(&root, &mut Vec::new(), true, &mut found)?;
    Ok(found)
}

fn walk(
    schema: &serde_json::Map<String, Value>,
    path: &mut Vec<String>,
    reachable: bool,
    found: &mut Vec<ParamHeader>,
) -> Result<(), &'static str> {
    for (key, value) in schema {
        match (key.as_str(), value) {
            ("x-mcp-header", value) if reachable => found.push(mark(schema, value, path, found)?),
            ("x-mcp-header", Value::String(_)) => {
                return Err("x-mcp-header marks a place that is not reached through properties alone");
            }
            // Data, not schemas.
            ("default" | "const" | "enum" | "examples", _) => {}
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    if let Value::Object(property) = property {
                        path.push(name.clone());
                        walk(property, path, reachable, found)?;
                        path.pop();
                    }
                }
            }
            (_, Value::Object(inner)) => walk(inner, path, false, found)?,
            (_, Value::Array(list)) => {
                for inner in list.iter().filter_map(Value::as_object) {
                    walk(inner, path, false, found)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn mark(
    schema: &serde_json::Map<String, Value>,
    value: &Value,
    path: &[String],
    found: &[ParamHeader],
) -> Result<ParamHeader, &'static str> {
    let name =
        value.as_str().filter(|name| header::is_token(name)).ok_or("x-mcp-header is not a header name")?;
    if path.is_empty() {
        return Err("x-mcp-header marks the whole input");
    }
    let primitive = |kind: &str| matches!(kind, "string" | "integer" | "boolean");
    let fits = match schema.get("type") {
        Some(Value::String(kind)) => primitive(kind),
        Some(Value::Array(kinds)) => {
            kinds.iter().all(|k| k.as_str().is_some_and(|k| k == "null" || primitive(k)))
                && kinds.iter().filter(|k| *k != "null").count() == 1
        }
        _ => false,
    };
    if !fits {
        return Err("x-mcp-header marks something else than a string, an integer or a boolean");
    }
    let header =
        HeaderName::try_from(format!("mcp-param-{name}")).map_err(|_| "x-mcp-header is not a header name")?;
    if found.iter().any(|other| other.header == header) {
        return Err("two parameters have the same x-mcp-header");
    }
    Ok(ParamHeader { path: path.to_vec(), header })
}

struct Argument<'a> {
    said: Cow<'a, str>,
    text: bool,
}

/// What the argument at a path says, as a header would say it. `Ok(None)` when it is absent or null.
///
/// # Errors
/// `()` when it is there twice or is no primitive.
fn argument<'a>(arguments: Option<&'a str>, path: &[String]) -> Result<Option<Argument<'a>>, ()> {
    let Some(mut value) = arguments else { return Ok(None) };
    for name in path {
        let mut hits = json::members(value).filter(|(key, ..)| key.is(name));
        let Some((_, hit, _)) = hits.next() else { return Ok(None) };
        if hits.next().is_some() {
            return Err(());
        }
        value = hit;
    }
    match value.as_bytes().first() {
        Some(b'n') | None => Ok(None),
        Some(b'"') => json::string(value).map(|said| Some(Argument { said, text: true })).ok_or(()),
        Some(b'{' | b'[') => Err(()),
        _ => Ok(Some(Argument { said: Cow::Borrowed(value), text: false })),
    }
}

/// Numbers are compared as numbers: `42.0` is `42`.
fn same(header: &str, argument: &Argument<'_>) -> bool {
    header == argument.said
        || !argument.text
            && matches!((header.parse::<f64>(), argument.said.parse::<f64>()), (Ok(a), Ok(b)) if (a - b).abs() == 0.0)
}

/// The headers to send upstream with these arguments.
pub fn headers_for(params: &[ParamHeader], arguments: Option<&str>) -> Vec<(HeaderName, HeaderValue)> {
    params
        .iter()
        .filter_map(|p| {
            let value = argument(arguments, &p.path).ok()??;
            Some((p.header.clone(), header::encode(&value.said)))
        })
        .collect()
}

/// Checks a client's `Mcp-Param-*` headers against the arguments (RSV-08). Headers that no parameter is marked for
/// are not looked at.
///
/// # Errors
/// The header that is missing, is there without an argument, or differs.
pub fn check_headers<'p>(
    params: &'p [ParamHeader],
    arguments: Option<&str>,
    headers: &HeaderMap,
) -> Result<(), &'p HeaderName> {
    for param in params {
        let mut sent = headers.get_all(&param.header).iter();
        let agree = match (argument(arguments, &param.path), sent.next(), sent.next()) {
            (Ok(None), None, _) => true,
            (Ok(Some(value)), Some(header), None) => {
                header::decode(header).is_some_and(|header| same(&header, &value))
            }
            _ => false,
        };
        if !agree {
            return Err(&param.header);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},
        "place":{"type":"object","properties":{"floor":{"type":["integer","null"],"x-mcp-header":"Floor"}}}}}"#;

    #[test]
    fn rsv_08_marked_arguments_are_found_and_sent() {
        let params = param_headers(SCHEMA).unwrap();
        assert_eq!(params.len(), 2);
        let sent = headers_for(&params, Some(r#"{"region":"Zürich","place":{"floor":-1}}"#));
        assert_eq!(sent[0].0, "mcp-param-region");
        assert_eq!(sent[0].1, "=?base64?WsO8cmljaA==?=");
        assert_eq!((sent[1].0.as_str(), &sent[1].1), ("mcp-param-floor", &HeaderValue::from_static("-1")));
        assert!(headers_for(&params, Some(r#"{"region":null}"#)).is_empty());
        assert!(headers_for(&params, None).is_empty());
    }

    #[test]
    fn rsv_08_headers_must_agree_with_arguments() {
        let params = param_headers(SCHEMA).unwrap();
        let check = |arguments, headers: &[(&'static str, &'static str)]| {
            let headers: HeaderMap = headers
                .iter()
                .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
                .collect();
            check_headers(&params, Some(arguments), &headers).is_ok()
        };
        assert!(check(r#"{"region":"eu"}"#, &[("mcp-param-region", "eu"), ("mcp-param-other", "x")]));
        assert!(check(r#"{"region":"eu"}"#, &[("mcp-param-region", "=?base64?ZXU=?=")]));
        assert!(check(r#"{"place":{"floor":42}}"#, &[("mcp-param-floor", "42.0")]));
        assert!(check("{}", &[]));
        assert!(!check(r#"{"region":"eu"}"#, &[("mcp-param-region", "us")]));
        assert!(!check(r#"{"region":"eu"}"#, &[]));
        assert!(!check("{}", &[("mcp-param-region", "eu")]));
        assert!(!check(r#"{"region":"42"}"#, &[("mcp-param-region", "42.0")]));
        assert!(!check(r#"{"region":"eu","region":"us"}"#, &[("mcp-param-region", "eu")]));
        assert!(!check(r#"{"region":"eu"}"#, &[("mcp-param-region", "=?base64?*?=")]));
    }

    #[test]
    fn ups_12_tools_with_bad_names_or_marks_are_dropped() {
        let tool = |name: &str, property: &str| {
            definition(
                &format!(
                    r#"{{"name":"{name}","inputSchema":{{"type":"object","properties":{{"a":{property}}}}}}}"#
                ),
                10,
            )
        };
        assert_eq!(tool("get.user-2_x", r#"{"type":"string"}"#).unwrap().name, "get.user-2_x");
        for name in ["", "a b", "a\\u202eb", "é", &"x".repeat(119)] {
            assert!(tool(name, "{}").is_err(), "{name}");
        }
        assert!(tool(&"x".repeat(118), "{}").is_ok());
        for property in [
            r#"{"type":"object","x-mcp-header":"A"}"#,
            r#"{"type":"string","x-mcp-header":""}"#,
            r#"{"type":"string","x-mcp-header":"a b"}"#,
            r#"{"type":"string","x-mcp-header":"a\r\nb"}"#,
            r#"{"type":"string","x-mcp-header":7}"#,
            r#"{"type":"array","items":{"type":"string","x-mcp-header":"A"}}"#,
            r#"{"anyOf":[{"type":"string","x-mcp-header":"A"}]}"#,
            r#"{"type":"object","properties":{"b":{"type":"string","x-mcp-header":"A"},"c":{"type":"string","x-mcp-header":"a"}}}"#,
        ] {
            assert!(tool("t", property).is_err(), "{property}");
        }
        assert!(tool("t", r#"{"type":"string","default":{"x-mcp-header":"A"}}"#).is_ok());
        assert!(definition(r#"{"name":"t"}"#, 0).is_err());
        assert!(definition(r#"{"name":"t","inputSchema":null}"#, 0).is_err());
    }
}
