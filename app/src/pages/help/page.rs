use crate::erase::Erase as _;
use leptos::prelude::*;
use model::{orgs::Me, paths};

use crate::{
    components::{Callout, CodeBlock, CopyField, DataTable, PageHeader, Tone},
    state::SiteAssets,
};

/// What stands in examples for a key. Nobody's key is ever filled in on a help page.
const EXAMPLE_KEY: &str = "gth_live_sk_…";

/// The endpoint in the examples: of the organisation in view, or of a made-up one.
pub(super) struct Endpoint {
    pub(super) url: String,
    pub(super) own: bool,
}

pub(super) fn endpoint(me: Option<&Me>) -> Endpoint {
    let base = use_context::<SiteAssets>().map(|site| site.public_url).unwrap_or_default();
    let slug = me.and_then(|me| me.org.as_ref()).map(|org| org.slug.as_str());
    Endpoint {
        url: format!("{base}{}", paths::mcp(slug.unwrap_or("your-organisation"))),
        own: slug.is_some(),
    }
}

fn list_tools(endpoint: &str, header: &str) -> String {
    format!(
        "curl -X POST {endpoint} \\\n  -H \"Content-Type: application/json\" \\\n  -H \"{header}\" \\\n  \
         -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{{}}}}'"
    )
}

/// What each credential is, and what an invalid one gets.
pub(super) fn authentication(endpoint: Endpoint) -> AnyView {
    let rows = [
        (
            "400",
            "ambiguous_credentials",
            "The request has two different credentials, or the same header twice. Send one.",
        ),
        ("401", "credential_missing", "The request has no credential."),
        (
            "401",
            "credential_invalid",
            "The key is mistyped, disabled, expired, deleted, or of another organisation. The answer is the same for all of these.",
        ),
        ("401", "credential_in_query", "The key stands in the URL, and this organisation or this key does not allow it."),
        ("403", "insufficient_scope", "The key is good, but not for the connector that was asked for."),
        ("429", "concurrency", "Too many calls run at once. Wait as many seconds as the header Retry-After says."),
        (
            "429",
            "rate_limited",
            "Too many requests in a minute of this key, the organisation or the connector. The headers RateLimit and Retry-After say when to go on.",
        ),
        ("429", "quota_exceeded", "The calls of this month are used up. Only calls that reach a connector count."),
    ]
    .into_iter()
    .map(|(status, code, meaning)| {
        let code = (!code.is_empty()).then(|| view! { <code>{code}</code> }.erase());
        view! {
            <tr>
                <th scope="row" data-label="Status">{status}</th>
                <td data-label="code">{code}</td>
                <td data-label="Meaning">{meaning}</td>
            </tr>
        }.erase()
    })
    .collect_view();
    let url = endpoint.url;
    let base = use_context::<SiteAssets>().map(|site| site.public_url).unwrap_or_default();
    let token = format!(
        "curl -X POST {base}{} \\\n  -H \"Content-Type: application/x-www-form-urlencoded\" \\\n  \
         -d \"grant_type=client_credentials\" \\\n  -d \"client_id=gth_client_…\" \\\n  \
         -d \"client_secret=gth_secret_…\" \\\n  -d \"scope=mcp:call\"",
        paths::token()
    );
    let one = format!("{url}/{{connector}}");
    let in_url = format!("{url}?api_key={EXAMPLE_KEY}");
    let refused = "HTTP/1.1 401 Unauthorized\nWWW-Authenticate: Bearer resource_metadata=\"…\", scope=\"mcp:call\", error=\"invalid_token\"\n\n\
                   {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32015,\"message\":\"The credential is not valid here. …\",\
                   \"data\":{\"code\":\"credential_invalid\"}}}";
    view! {
        <PageHeader title="Authentication" about="How agents and programs prove who they are." />
        <div class="prose">
            <p>
                "Every request to an MCP endpoint carries one credential. It is checked before anything reaches a connector, \
                 and it is never passed on: a connector is sent only what you stored for it."
            </p>
            <h2>"Endpoints"</h2>
            <p>"All tools of an organisation, each named " <code>"connector__tool"</code> ":"</p>
            <CopyField label="organisation endpoint" text=url.clone() />
            <p>"The tools of one connector, under their own names:"</p>
            <CopyField label="connector endpoint" text=one />

            <h2>"API keys"</h2>
            <p>
                "A key belongs to one organisation and works only on its endpoints. It can be limited to chosen connectors, \
                 and it can have a date on which it ends. Make and manage keys under "
                <a href=paths::settings_api_keys()>"Settings, API keys"</a> "."
            </p>
            <p>"Send it as " <code>"X-API-Key"</code> ":"</p>
            <CodeBlock label="Terminal: X-API-Key" text=list_tools(&url, &format!("X-API-Key: {EXAMPLE_KEY}")) />
            <p>"Or as a bearer token, which most MCP clients have a field for:"</p>
            <CodeBlock
                label="Terminal: Authorization"
                text=list_tools(&url, &format!("Authorization: Bearer {EXAMPLE_KEY}"))
            />
            <ul>
                <li>"The whole key is shown when it is made. Keep it in a secret manager, not in code."</li>
                <li>"Disable a key to stop it within a second. Enabling it brings it back."</li>
                <li>"Delete a key when it is not needed any more, or was seen by somebody. That cannot be undone."</li>
                <li>"To replace a key, make the new one first, move everything over, then delete the old one."</li>
            </ul>

            <h2>"Keys in the URL"</h2>
            <p>
                "Some clients take only an address. For those a key can stand in the URL, if the organisation allows it and \
                 the key was made for it:"
            </p>
            <CodeBlock label="Address with a key" text=in_url />
            <Callout tone=Tone::Warn title="Addresses are seen by more eyes than headers">
                <p>
                    "They end up in histories, logs and screenshots. Use a key that is limited to the connectors it needs, \
                     and send it as a header wherever the client can."
                </p>
            </Callout>

            <h2>"Signing in"</h2>
            <p>
                "Claude.ai, Claude Desktop, Cursor and most other MCP clients need no key: a person logs in and allows the \
                 client. " <a href=paths::help_claude_ai()>"Connect to Claude.ai"</a> " shows it step by step. Each such \
                 connection can be seen and revoked under "
                <a href=paths::settings_connections()>"Settings, MCP connections"</a> "."
            </p>

            <h2>"What a person may do"</h2>
            <p>
                "That is up to their role in the organisation. Five are built in: owner, admin, developer, member and viewer. \
                 Under " <a href=paths::team_roles()>"Team, Roles"</a> " somebody with the permission "
                <code>"team:roles"</code> " makes further ones of single permissions."
            </p>
            <ul>
                <li>"Nobody gives more than they hold: not by giving a role, inviting to it, or changing one."</li>
                <li>"Deleting the organisation, its plan, and making owners stay with owners."</li>
                <li>"A change counts with the next request. Without " <code>"playground:use"</code> " a person's own connections stop, too."</li>
                <li>"Before a role goes that somebody has, it is chosen what they get instead."</li>
            </ul>

            <h2>"OAuth client credentials"</h2>
            <p>
                "For programs that act on their own and should hold no lasting key. Make a client under "
                <a href=paths::settings_oauth_clients()>"Settings, OAuth clients"</a>
                ", ask for a token, and send it as a bearer token. It works for an hour."
            </p>
            <CodeBlock label="Terminal: get a token" text=token />

            <h2>"What an invalid credential gets"</h2>
            <p>
                "The answer is a JSON-RPC error. Its " <code>"data.code"</code>
                " is a stable word for programs; the message is for people and may change."
            </p>
            <CodeBlock label="Answer to an invalid key" text=refused />
            <DataTable caption="Refusals of an MCP endpoint" columns=vec!["Status", "data.code", "Meaning"]>
                {rows}
            </DataTable>
            <p>"Next: " <a href=paths::help_quickstart()>"make a first request"</a> "."</p>
        </div>
    }
    .erase()
}

/// From nothing to a first call.
pub(super) fn quickstart(endpoint: Endpoint) -> AnyView {
    let Endpoint { url, own } = endpoint;
    let key = format!("X-API-Key: {EXAMPLE_KEY}");
    let call = format!(
        "curl -X POST {url} \\\n  -H \"Content-Type: application/json\" \\\n  -H \"{key}\" \\\n  \
         -d '{{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/call\",\"params\":{{\"name\":\"demo__echo\",\
         \"arguments\":{{\"text\":\"hello\"}}}}}}'"
    );
    let base = use_context::<SiteAssets>().map(|site| site.public_url).unwrap_or_default();
    let rest = format!(
        "curl -X POST {base}{} \\\n  -H \"Content-Type: application/json\" \\\n  -H \"{key}\" \\\n  \
         -d '{{\"connector\":\"demo\",\"tool\":\"echo\",\"arguments\":{{\"text\":\"hello\"}}}}'",
        paths::rest_invoke()
    );
    let sign_in = (!own).then(|| {
        view! {
            <p>
                <a href=paths::sign_in_then(paths::help_quickstart())>"Log in"</a>
                " to see the endpoint of your organisation in these examples."
            </p>
        }
        .erase()
    });
    view! {
        <PageHeader title="Quickstart" about="From nothing to the first tool call." />
        <div class="prose">
            {sign_in}
            <h2>"1. Add a connector"</h2>
            <p>
                "A connector is one MCP server that Gatehouse speaks to for you. "
                <a href=paths::new_connector()>"Add one"</a>
                " by its URL. Its tools appear as " <code>"connector__tool"</code> "; each can be switched off."
            </p>
            <h2>"2. Make an API key"</h2>
            <p>
                <a href=paths::new_api_key()>"Make a key"</a>
                " and name it after what will use it. Copy it while it is shown."
            </p>
            <h2>"3. Ask for the tools"</h2>
            <p>"This is your endpoint:"</p>
            <CopyField label="endpoint" text=url.clone() />
            <p>"One request is enough; no session has to be opened first. Put your key in place of the dots:"</p>
            <CodeBlock label="Terminal: list the tools" text=list_tools(&url, &key) />
            <p>"The answer lists every tool that this key may call."</p>
            <h2>"4. Call one"</h2>
            <p>"Put the name of one of your tools, and the arguments it asks for:"</p>
            <CodeBlock label="Terminal: call a tool" text=call />
            <h2>"Without MCP"</h2>
            <p>
                "A caller that does not speak MCP posts the connector, the tool and the arguments, and gets the result or a problem (RFC 9457). The organisation is that of the credential. "
                <a href=paths::rest_openapi() rel="external">"OpenAPI document"</a>
            </p>
            <CodeBlock label="Terminal: call a tool without MCP" text=rest />
            <h2>"5. Connect an agent"</h2>
            <p>
                <a href=paths::settings_api_keys()>"API keys"</a>
                " has commands for Claude Code, Codex, VS Code, Cursor and others, with the key filled in."
            </p>
            <Callout title="It answers 401?">
                <p>
                    "Check the whole key, that it is enabled, and the organisation in the URL. "
                    <a href=paths::help_authentication()>"Authentication"</a> " says what each answer means."
                </p>
            </Callout>
        </div>
    }
    .erase()
}
