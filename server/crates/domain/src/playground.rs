//! Calling tools from the dashboard: which there are, what they ask for, and how a form becomes arguments.
//!
//! A call takes the same way as an agent's, with the same limits and the same line in the log; only that it is a member
//! who asks. Whoever has the data plane implements [`Playground`].

use futures_util::future::BoxFuture;
use model::{
    AppError, FieldError, OrgId, UserId, paths,
    permissions::can,
    playground::{PlayChoice, PlayField, PlayKind, PlayPage, PlayResult, PlayTool},
};
use serde_json::{Map, Value, json};

use crate::{Env, Error, OrgActor, Result, authz, request::Origin};

/// The most arguments that get a field of their own; tools with more take JSON.
const MOST_FIELDS: usize = 50;

/// A call of a member.
#[derive(Clone, Debug)]
pub struct MemberCall {
    /// Where.
    pub org: OrgId,
    /// Who.
    pub user: UserId,
    /// Their name, for the log.
    pub name: String,
    /// From where.
    pub origin: Origin,
    /// The connector's slug.
    pub connector: String,
    /// The tool's name upstream.
    pub tool: String,
    /// The arguments, a JSON object.
    pub arguments: String,
}

/// What came of it: what an agent would have got.
#[derive(Clone, Debug)]
pub struct Called {
    /// HTTP status.
    pub status: u16,
    /// The JSON-RPC message.
    pub body: String,
    /// Microseconds.
    pub took_us: i64,
}

/// The data plane, for members.
pub trait Playground: Send + Sync + 'static {
    /// Calls a tool.
    fn call(&self, call: MemberCall) -> BoxFuture<'_, Called>;
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_default().trim().to_owned()
}

/// One argument, as its schema describes it.
fn field(name: &str, schema: &Value, required: bool) -> PlayField {
    let texts = |list: &Value| -> Option<Vec<String>> {
        list.as_array()?.iter().map(|value| value.as_str().map(str::to_owned)).collect()
    };
    let kind = match (texts(&schema["enum"]), schema["type"].as_str()) {
        (Some(choices), _) if !choices.is_empty() => PlayKind::Choice(choices),
        (_, Some("string")) => PlayKind::Text,
        (_, Some("number")) => PlayKind::Number,
        (_, Some("integer")) => PlayKind::Integer,
        (_, Some("boolean")) => PlayKind::Boolean,
        _ => PlayKind::Json,
    };
    let value = match (&kind, &schema["default"]) {
        (_, Value::Null) => String::new(),
        (PlayKind::Text | PlayKind::Choice(_), Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    };
    let title = text(schema, "title");
    PlayField {
        label: if title.is_empty() { name.to_owned() } else { title },
        name: name.to_owned(),
        about: text(schema, "description"),
        kind,
        required,
        value,
    }
}

/// The arguments that a schema asks for; one field for all of them as JSON where that cannot be told.
fn fields(schema: &Value) -> Vec<PlayField> {
    let required = |name: &str| {
        schema["required"].as_array().is_some_and(|names| names.iter().any(|n| n.as_str() == Some(name)))
    };
    match schema["properties"].as_object() {
        Some(properties) if properties.len() <= MOST_FIELDS => {
            properties.iter().map(|(name, schema)| field(name, schema, required(name))).collect()
        }
        None if schema["additionalProperties"] == false => Vec::new(),
        None if !["$ref", "oneOf", "anyOf", "allOf", "additionalProperties"]
            .iter()
            .any(|k| schema.get(k).is_some()) =>
        {
            Vec::new()
        }
        _ => vec![whole()],
    }
}

/// The name of the field that takes all arguments at once. No argument is called so.
const WHOLE: &str = "";

fn whole() -> PlayField {
    PlayField {
        name: WHOLE.to_owned(),
        label: "Arguments".to_owned(),
        about: "All arguments as one JSON object.".to_owned(),
        kind: PlayKind::Json,
        required: true,
        value: "{}".to_owned(),
    }
}

/// A tool with the definition that it has.
struct Found {
    choice: PlayChoice,
    definition: Value,
}

async fn tools(env: &Env, org: OrgId) -> Result<Vec<Found>> {
    let mut tx = env.db.read().await?;
    let connectors = store::connectors::list(&mut tx, org).await?;
    let mut found = Vec::new();
    for connector in connectors.iter().filter(|connector| connector.enabled) {
        let tools = store::connectors::list_tools_of(&mut tx, org, connector.id).await?;
        for (name, definition) in crate::connectors::offered(connector, tools) {
            let definition: Value = serde_json::from_str(&definition).unwrap_or_default();
            let choice = PlayChoice {
                connector: connector.slug.clone(),
                connector_name: connector.name.clone(),
                title: text(&definition, "title"),
                tool: name,
            };
            found.push(Found { choice, definition });
        }
    }
    found.sort_by(|a, b| (&a.choice.connector, &a.choice.tool).cmp(&(&b.choice.connector, &b.choice.tool)));
    Ok(found)
}

fn described(found: &Found) -> PlayTool {
    let Found { choice, definition } = found;
    let (schema, hints) = (&definition["inputSchema"], &definition["annotations"]);
    let read_only = hints["readOnlyHint"].as_bool().unwrap_or(false);
    PlayTool {
        choice: choice.clone(),
        about: text(definition, "description"),
        fields: fields(schema),
        read_only,
        // What a tool that says nothing is taken for (MCP, server/tools, annotations).
        destructive: !read_only && hints["destructiveHint"].as_bool().unwrap_or(true),
        schema: serde_json::to_string_pretty(schema).unwrap_or_default(),
    }
}

/// What the page shows; `name` is `connector/tool`, or nothing.
pub async fn page(env: &Env, actor: &OrgActor<can::PlaygroundUse>, name: &str) -> Result<PlayPage> {
    let found = tools(env, actor.org()).await?;
    let chosen = found.iter().find(|found| found.choice.name() == name).map(described);
    Ok(PlayPage { choices: found.into_iter().map(|found| found.choice).collect(), chosen })
}

/// One argument as it was typed; `None` when it was left out.
fn argument(field: &PlayField, typed: &str) -> core::result::Result<Option<Value>, String> {
    let trimmed = typed.trim();
    let what = &field.label;
    if trimmed.is_empty() {
        return match (&field.kind, field.required) {
            // An empty text is a text.
            (PlayKind::Text, true) => Ok(Some(Value::String(String::new()))),
            (_, true) => Err(format!("Enter {what}: the tool asks for it")),
            (_, false) => Ok(None),
        };
    }
    let parsed = match &field.kind {
        PlayKind::Text => Some(Value::String(typed.replace("\r\n", "\n"))),
        PlayKind::Choice(choices) => {
            choices.iter().any(|choice| choice == typed).then(|| Value::String(typed.to_owned()))
        }
        PlayKind::Boolean => match trimmed {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        PlayKind::Integer => trimmed.parse::<i64>().ok().map(Value::from),
        PlayKind::Number => serde_json::from_str(trimmed).ok().filter(Value::is_number),
        PlayKind::Json => serde_json::from_str(trimmed).ok(),
    };
    parsed.map(Some).ok_or_else(|| match &field.kind {
        PlayKind::Integer => format!("Enter a whole number for {what}"),
        PlayKind::Number => format!("Enter a number for {what}"),
        PlayKind::Json => format!("Enter JSON for {what}, such as [\"a\", 1] or {{\"a\": 1}}"),
        _ => format!("Choose one of the values for {what}"),
    })
}

/// The arguments that a form makes. Values come in the order of the tool's fields, each with the name it was made for.
fn arguments(fields: &[PlayField], typed: &[(String, String)]) -> Result<Value> {
    let mut made = Map::new();
    let mut wrong = Vec::new();
    for (at, field) in fields.iter().enumerate() {
        let typed =
            typed.iter().find(|(name, _)| *name == field.name).map_or("", |(_, value)| value.as_str());
        match argument(field, typed) {
            Ok(Some(value)) if field.name == WHOLE => match value {
                Value::Object(members) => made = members,
                _ => wrong.push((at, "Enter one JSON object, such as {\"a\": 1}".to_owned())),
            },
            Ok(Some(value)) => {
                made.insert(field.name.clone(), value);
            }
            Ok(None) => {}
            Err(why) => wrong.push((at, why)),
        }
    }
    if wrong.is_empty() {
        return Ok(Value::Object(made));
    }
    let mut error = AppError::new(
        model::ErrorKind::Invalid,
        "arguments",
        "The arguments do not fit. Nothing was called.",
    );
    error.fields =
        wrong.into_iter().map(|(at, message)| FieldError { field: format!("args[{at}]"), message }).collect();
    Err(error.into())
}

/// `text` as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Calls a tool as the member who asks. `typed` has the name and the value of each field.
pub async fn run(
    env: &Env,
    actor: &OrgActor<can::PlaygroundUse>,
    plane: &dyn Playground,
    name: &str,
    typed: &[(String, String)],
) -> Result<PlayResult> {
    let authz::Principal::User { id, name: who } = actor.principal().clone() else {
        return Err(Error::Internal("only a member can use the Playground".into()));
    };
    let found = tools(env, actor.org()).await?;
    let found =
        found.iter().find(|found| found.choice.name() == name).ok_or_else(|| Error::not_found("tool"))?;
    let tool = described(found);
    let arguments = arguments(&tool.fields, typed)?;
    let call = MemberCall {
        org: actor.org(),
        user: id,
        name: who,
        origin: actor.origin().clone(),
        connector: tool.choice.connector.to_string(),
        tool: tool.choice.tool.clone(),
        arguments: arguments.to_string(),
    };
    let called = plane.call(call).await;
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool.choice.tool, "arguments": arguments}});
    let mut tx = env.db.read().await?;
    let org =
        store::orgs::find(&mut tx, actor.org()).await?.ok_or_else(|| Error::not_found("organisation"))?;
    drop(tx);
    let path = paths::mcp_connector(org.slug.as_str(), tool.choice.connector.as_str());
    let endpoint = env.settings.absolute(&path);
    let curl = format!(
        "curl -X POST {endpoint} \\\n  -H \"Content-Type: application/json\" \\\n  -H \"X-API-Key: YOUR_API_KEY\" \\\n  -d {}",
        quoted(&request.to_string())
    );
    let answer: Value = serde_json::from_str(&called.body).unwrap_or_default();
    let error = answer.get("error");
    let texts = match error {
        Some(error) => vec![text(error, "message")],
        None => answer["result"]["content"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|part| match part["text"].as_str() {
                Some(text) => text.to_owned(),
                None => format!("[{}: see the raw answer]", part["type"].as_str().unwrap_or("unknown")),
            })
            .collect(),
    };
    Ok(PlayResult {
        failed: error.is_some() || answer["result"]["isError"] == true,
        texts,
        status: called.status,
        took_us: called.took_us,
        request: serde_json::to_string_pretty(&request).unwrap_or_default(),
        response: serde_json::to_string_pretty(&answer).unwrap_or(called.body),
        curl,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        json!({"type": "object", "required": ["text", "count"], "properties": {
            "text": {"type": "string", "description": "What to say", "default": "hi"},
            "count": {"type": "integer", "title": "How often"},
            "ratio": {"type": "number"},
            "loud": {"type": "boolean"},
            "colour": {"type": "string", "enum": ["red", "blue"]},
            "tags": {"type": "array", "items": {"type": "string"}},
        }})
    }

    fn typed(values: &[(&str, &str)]) -> Vec<(String, String)> {
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_form_has_a_field_for_each_argument() {
        let fields = fields(&schema());
        let kinds: Vec<_> =
            fields.iter().map(|field| (field.label.as_str(), &field.kind, field.required)).collect();
        let choice = PlayKind::Choice(vec!["red".into(), "blue".into()]);
        assert_eq!(
            kinds,
            [
                ("text", &PlayKind::Text, true),
                ("How often", &PlayKind::Integer, true),
                ("ratio", &PlayKind::Number, false),
                ("loud", &PlayKind::Boolean, false),
                ("colour", &choice, false),
                ("tags", &PlayKind::Json, false),
            ]
        );
        assert_eq!(fields[0].value, "hi");
        assert!(super::fields(&json!({"type": "object"})).is_empty());
        assert_eq!(super::fields(&json!({"oneOf": []})), [whole()]);
    }

    #[test]
    fn what_is_typed_becomes_arguments_of_the_right_kind() {
        let fields = fields(&schema());
        let made = arguments(
            &fields,
            &typed(&[
                ("text", "a\r\nb"),
                ("count", " 3 "),
                ("ratio", "0.5"),
                ("loud", "false"),
                ("colour", "blue"),
                ("tags", "[\"x\"]"),
                ("unknown", "1"),
            ]),
        )
        .unwrap();
        assert_eq!(
            made,
            json!({"text": "a\nb", "count": 3, "ratio": 0.5, "loud": false, "colour": "blue", "tags": ["x"]})
        );
        let made = arguments(&fields, &typed(&[("count", "1")])).unwrap();
        assert_eq!(made, json!({"text": "", "count": 1}));
        let refused = |values: &[(&str, &str)]| {
            let error = arguments(&fields, &typed(values)).unwrap_err().into_app("");
            error.fields.into_iter().map(|field| field.field).collect::<Vec<_>>()
        };
        assert_eq!(
            refused(&[("count", "1.5"), ("loud", "maybe"), ("tags", "[")]),
            ["args[1]", "args[3]", "args[5]"]
        );
        assert_eq!(refused(&[]), ["args[1]"]);
        let all = [whole()];
        assert_eq!(arguments(&all, &typed(&[("", "{\"a\":1}")])).unwrap(), json!({"a": 1}));
        assert!(arguments(&all, &typed(&[("", "[1]")])).is_err());
    }

    #[test]
    fn a_command_line_keeps_its_quotes() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
