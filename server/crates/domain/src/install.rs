//! What the helper "Connect to an AI agent (MCP)" offers: for each client the command, configuration or link that connects
//! it, with the key filled in, and the same by signing in (product §6).
//!
//! Pure text: it knows the endpoint and the key, and neither makes nor looks up anything. What [`methods`] makes holds a
//! whole key, so it may only be part of the answer to a POST; what [`oauth_ways`] makes holds none.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    api_keys::{InstallMethod, Snippet},
    oauth::OauthWay,
};
use serde_json::{Value, json};

/// Whether `?api_key=` works with the key at hand (APK-09).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlKeys {
    /// It does.
    Allowed,
    /// The organisation has not switched it on.
    OrgOff,
    /// The organisation has, but this key is not marked for it.
    KeyNotMarked,
}

/// Stands for the key where there is none to fill in.
pub const PLACEHOLDER: &str = "YOUR_API_KEY";

/// Ids and names of the clients, the most used first.
const CLIENTS: [(&str, &str); 10] = [
    ("claude-code", "Claude Code"),
    ("codex", "Codex"),
    ("vscode", "VS Code"),
    ("cursor", "Cursor"),
    ("claude-desktop", "Claude Desktop"),
    ("chatgpt", "ChatGPT"),
    ("gemini-cli", "Gemini CLI"),
    ("windsurf", "Windsurf"),
    ("zed", "Zed"),
    ("goose", "Goose"),
];

/// The name of a client, by its id; `None` if there is no such client.
pub fn client_title(client: &str) -> Option<&'static str> {
    CLIENTS.iter().find(|(id, _)| *id == client).map(|(_, title)| *title)
}

/// Whether a client takes its key as part of the URL.
pub fn wants_url_key(client: &str) -> bool {
    matches!(client, "claude-desktop" | "chatgpt")
}

/// How to connect each client, the most used first.
///
/// `endpoint` is the organisation's MCP URL, `slug` names the server in the client, `secret` is the whole key, and `masked`
/// is what is shown in its place.
pub fn methods(
    endpoint: &str,
    slug: &str,
    secret: &str,
    masked: &str,
    url_keys: UrlKeys,
) -> Vec<InstallMethod> {
    let to = Target { endpoint, slug, secret, masked, url_keys };
    let mut methods = vec![
        to.claude_code(),
        to.codex(),
        to.vs_code(),
        to.cursor(),
        to.claude_desktop(),
        to.chatgpt(),
        to.gemini_cli(),
        to.windsurf(),
        to.zed(),
        to.goose(),
    ];
    for (method, way) in methods.iter_mut().zip(oauth_ways(endpoint, slug)) {
        method.oauth = Some(way);
    }
    methods
}

/// How to connect each client by signing in, in the order of [`methods`]. That is the safer way: no secret is copied, and
/// what the client gets ends by itself.
pub fn oauth_ways(endpoint: &str, slug: &str) -> Vec<OauthWay> {
    let (name, url) = (slug, shell_word(endpoint));
    let file = |section: &str, server: Value| format!("{:#}", json!({ section: { slug: server } }));
    let config = json!({ "name": slug, "type": "http", "url": endpoint }).to_string();
    vec![
        way(
            "claude-code",
            &[
                "Run this in a terminal.",
                "In Claude Code, enter /mcp, choose the server and then Authenticate. A browser opens: log in and allow it.",
            ],
            vec![plain("Terminal", format!("claude mcp add --transport http {name} {url}"))],
        ),
        way(
            "codex",
            &["Run this in a terminal. A browser opens: log in and allow it. If none opens, run the second line."],
            vec![
                plain("Terminal", format!("codex mcp add {name} --url {url}")),
                plain("Terminal, if no browser opened", format!("codex mcp login {name}")),
            ],
        ),
        way(
            "vscode",
            &[
                "Run this in a terminal, or use the button.",
                "VS Code asks whether you trust the server, and opens a browser when it first connects: log in and allow it.",
            ],
            vec![
                plain("Terminal (bash)", format!("code --add-mcp {}", bash_quote(&config))),
                plain(
                    "Terminal (PowerShell)",
                    format!("code --add-mcp {}", powershell_quote(&config.replace('"', "\\\""))),
                ),
            ],
        )
        .link(format!("vscode:mcp/install?{}", encode(&config))),
        way(
            "cursor",
            &[
                "Use the button and confirm in Cursor, or put this into ~/.cursor/mcp.json.",
                "Cursor shows Needs login beside the server: click it, then log in and allow it in the browser.",
            ],
            vec![plain("~/.cursor/mcp.json", file("mcpServers", json!({ "url": endpoint })))],
        )
        .link(format!(
            "cursor://anysphere.cursor-deeplink/mcp/install?name={}&config={}",
            encode(slug),
            encode(&STANDARD.encode(json!({ "url": endpoint }).to_string()))
        )),
        way(
            "claude-desktop",
            &[
                "Open Customize, Connectors, Add custom connector. Paste the connector URL, then choose Connect: log in and allow it in the browser.",
                "Or use the configuration file: open Settings, Developer, Edit Config, put the second text into it, and restart Claude Desktop. It needs Node.js.",
            ],
            vec![
                plain("Connector URL", endpoint.to_owned()),
                plain(
                    "claude_desktop_config.json",
                    file("mcpServers", json!({ "command": "npx", "args": ["-y", "mcp-remote", endpoint] })),
                ),
            ],
        ),
        way(
            "chatgpt",
            &[
                "Open Settings, Connectors, Advanced, and switch on developer mode.",
                "Choose Create, paste the connector URL, and choose OAuth. Log in and allow it in the browser.",
                "Pick the connector in a new chat.",
            ],
            vec![plain("Connector URL", endpoint.to_owned())],
        ),
        way(
            "gemini-cli",
            &[
                "Run this in a terminal.",
                "In Gemini CLI, enter the second line. A browser opens: log in and allow it.",
            ],
            vec![
                plain("Terminal", format!("gemini mcp add --transport http {name} {url}")),
                plain("In Gemini CLI", format!("/mcp auth {name}")),
            ],
        ),
        way(
            "windsurf",
            &[
                "Put this into ~/.codeium/windsurf/mcp_config.json, then refresh the list of servers in Cascade.",
                "A browser opens: log in and allow it.",
            ],
            vec![plain(
                "~/.codeium/windsurf/mcp_config.json",
                file("mcpServers", json!({ "serverUrl": endpoint })),
            )],
        ),
        way(
            "zed",
            &[
                "Run the command zed: open settings, and add this to the file.",
                "A browser opens: log in and allow it.",
            ],
            vec![plain("settings.json", file("context_servers", json!({ "url": endpoint })))],
        ),
        way(
            "goose",
            &[
                "Use the button, or open this link on the machine where Goose is installed, and confirm.",
                "A browser opens: log in and allow it.",
            ],
            vec![plain("Link", goose_link(endpoint, slug))],
        )
        .link(goose_link(endpoint, slug)),
    ]
}

fn way(client: &str, steps: &[&str], snippets: Vec<Snippet>) -> OauthWay {
    OauthWay {
        client: client.to_owned(),
        title: client_title(client).unwrap_or(client).to_owned(),
        steps: steps.iter().map(|&step| step.to_owned()).collect(),
        snippets,
        link: None,
    }
}

/// A text to copy that holds no secret.
fn plain(label: &str, text: String) -> Snippet {
    Snippet { label: label.to_owned(), shown: text.clone(), text }
}

fn goose_link(endpoint: &str, slug: &str) -> String {
    format!("goose://extension?name={}&url={}&type=streamable_http", encode(slug), encode(endpoint))
}

const LINK_WARNING: &str = "The button's link holds the key. Links may stay in browser history and system logs; the configuration file below avoids that.";
const LINK_ONLY_WARNING: &str = "The link holds the key. Links may stay in browser history and system logs, so use a key of its own here.";
const COMMAND_WARNING: &str = "The command holds the key and stays in your shell's history. Delete the line there if others use this account.";
const URL_WARNING: &str =
    "Treat this URL like a password: it may end up in logs and history. Use a key of its own here.";

struct Target<'a> {
    endpoint: &'a str,
    slug: &'a str,
    secret: &'a str,
    masked: &'a str,
    url_keys: UrlKeys,
}

impl Target<'_> {
    fn claude_code(&self) -> InstallMethod {
        let (name, url) = (self.slug, shell_word(self.endpoint));
        method(
            "claude-code",
            &["Run this in a terminal. It connects Claude Code in the folder you are in; with --scope user it connects it everywhere."],
            vec![self.snippet("Terminal", |key| {
                format!("claude mcp add --transport http {name} {url} --header \"Authorization: Bearer {key}\"")
            })],
        )
        .warn(COMMAND_WARNING)
    }

    fn codex(&self) -> InstallMethod {
        let (name, url, variable) = (self.slug, shell_word(self.endpoint), self.variable());
        let add = format!("codex mcp add {name} --url {url} --bearer-token-env-var {variable}");
        method(
            "codex",
            &[
                "Run these two lines in a terminal.",
                "Codex reads the key from the variable each time it starts: put the first line into your shell's profile to keep it.",
                "Or put the third text into ~/.codex/config.toml, which needs no variable.",
            ],
            vec![
                self.snippet("Terminal (bash)", |key| format!("export {variable}={}\n{add}", shell_word(key))),
                self.snippet("Terminal (PowerShell)", |key| {
                    format!("$env:{variable} = {}\n{add}", powershell_quote(key))
                }),
                // JSON's strings are TOML's as well.
                self.snippet("~/.codex/config.toml", |key| {
                    format!(
                        "[mcp_servers.{name}]\nurl = {}\nhttp_headers = {{ Authorization = {} }}",
                        json!(self.endpoint),
                        json!(bearer(key)),
                    )
                }),
            ],
        )
        .warn(COMMAND_WARNING)
    }

    fn vs_code(&self) -> InstallMethod {
        let config = |key: &str| {
            json!({ "name": self.slug, "type": "http", "url": self.endpoint, "headers": headers(key) })
                .to_string()
        };
        method(
            "vscode",
            &[
                "Run this in a terminal, or use the button.",
                "VS Code asks whether you trust the server; then its tools are in the chat's tool picker.",
            ],
            vec![
                self.snippet("Terminal (bash)", |key| format!("code --add-mcp {}", bash_quote(&config(key)))),
                // `code` is a batch file on Windows: PowerShell hands the inner quotes on only if they are escaped.
                self.snippet("Terminal (PowerShell)", |key| {
                    format!("code --add-mcp {}", powershell_quote(&config(key).replace('"', "\\\"")))
                }),
            ],
        )
        .link(format!("vscode:mcp/install?{}", encode(&config(self.secret))))
        .warn(COMMAND_WARNING)
    }

    fn cursor(&self) -> InstallMethod {
        let server = |key: &str| json!({ "url": self.endpoint, "headers": headers(key) });
        let config = STANDARD.encode(server(self.secret).to_string());
        method(
            "cursor",
            &["Use the button, then confirm in Cursor.", "Or put this into ~/.cursor/mcp.json."],
            vec![self.snippet("~/.cursor/mcp.json", |key| self.file("mcpServers", server(key)))],
        )
        .link(format!(
            "cursor://anysphere.cursor-deeplink/mcp/install?name={}&config={}",
            encode(self.slug),
            encode(&config)
        ))
        .warn(LINK_WARNING)
    }

    fn claude_desktop(&self) -> InstallMethod {
        // A space inside an argument is lost on Windows, so the header's value travels in a variable.
        let bridge = self.snippet("claude_desktop_config.json", |key| {
            self.file(
                "mcpServers",
                json!({
                    "command": "npx",
                    "args": ["-y", "mcp-remote", self.endpoint, "--header", "Authorization:${AUTH}"],
                    "env": { "AUTH": bearer(key) },
                }),
            )
        });
        let file_step = "Open Settings, Developer, Edit Config, put this into the file, and restart Claude Desktop. It needs Node.js.";
        match self.url_problem() {
            None => method(
                "claude-desktop",
                &[
                    "Open Customize, Connectors, Add custom connector.",
                    "Paste the connector URL and save.",
                    "Or use the configuration file: open Settings, Developer, Edit Config, put the second text into it, and restart Claude Desktop. It needs Node.js.",
                ],
                vec![self.connector_url(), bridge],
            )
            .warn(URL_WARNING),
            Some(problem) => {
                method("claude-desktop", &[file_step], vec![bridge]).warn(problem)
            }
        }
    }

    fn chatgpt(&self) -> InstallMethod {
        match self.url_problem() {
            None => method(
                "chatgpt",
                &[
                    "Open Settings, Connectors, Advanced, and switch on developer mode.",
                    "Choose Create, paste the connector URL, and choose No authentication.",
                    "Pick the connector in a new chat.",
                ],
                vec![self.connector_url()],
            )
            .warn(URL_WARNING),
            Some(problem) => method(
                "chatgpt",
                &["ChatGPT sends no headers, so it can use a key only as part of the URL."],
                Vec::new(),
            )
            .warn(problem),
        }
    }

    fn gemini_cli(&self) -> InstallMethod {
        let (name, url) = (self.slug, shell_word(self.endpoint));
        method(
            "gemini-cli",
            &["Run this in a terminal."],
            vec![self.snippet("Terminal", |key| {
                format!("gemini mcp add --scope user --transport http --header \"Authorization: Bearer {key}\" {name} {url}")
            })],
        )
        .warn(COMMAND_WARNING)
    }

    fn windsurf(&self) -> InstallMethod {
        method(
            "windsurf",
            &[
                "Put this into ~/.codeium/windsurf/mcp_config.json, then refresh the list of servers in Cascade.",
            ],
            vec![self.snippet("~/.codeium/windsurf/mcp_config.json", |key| {
                self.file("mcpServers", json!({ "serverUrl": self.endpoint, "headers": headers(key) }))
            })],
        )
    }

    fn zed(&self) -> InstallMethod {
        method(
            "zed",
            &["Run the command zed: open settings, and add this to the file."],
            vec![self.snippet("settings.json", |key| {
                self.file("context_servers", json!({ "url": self.endpoint, "headers": headers(key) }))
            })],
        )
    }

    fn goose(&self) -> InstallMethod {
        let link = |key: &str| {
            let header = encode(&format!("Authorization={}", bearer(key)));
            format!("{}&header={header}", goose_link(self.endpoint, self.slug))
        };
        method(
            "goose",
            &["Use the button, or open this link on the machine where Goose is installed, and confirm."],
            // Encoding would make three letters of each dot in the mask.
            vec![Snippet {
                label: "Link".to_owned(),
                text: link(self.secret),
                shown: link("MASKED").replace("MASKED", self.masked),
            }],
        )
        .link(link(self.secret))
        .warn(LINK_ONLY_WARNING)
    }

    /// A text to copy, made twice: with the key, and with the mask in its place.
    fn snippet(&self, label: &str, text: impl Fn(&str) -> String) -> Snippet {
        Snippet { label: label.to_owned(), text: text(self.secret), shown: text(self.masked) }
    }

    fn connector_url(&self) -> Snippet {
        self.snippet("Connector URL", |key| format!("{}?api_key={key}", self.endpoint))
    }

    /// Why a URL with the key in it would not work.
    fn url_problem(&self) -> Option<&'static str> {
        match self.url_keys {
            UrlKeys::Allowed => None,
            UrlKeys::OrgOff => Some(
                "A connector URL needs a key in it, and keys in URLs are switched off in this organisation. Those who may change its settings can switch them on, on the API keys page.",
            ),
            UrlKeys::KeyNotMarked => Some(
                "A connector URL needs a key in it, and this key does not work in URLs. Make a key that is marked for URLs, then open this helper with it.",
            ),
        }
    }

    /// A configuration file with this server as its only one, as people read it.
    fn file(&self, section: &str, server: Value) -> String {
        format!("{:#}", json!({ section: { self.slug: server } }))
    }

    /// The variable that holds the key: `ACME_API_KEY`. A name must not start with a digit.
    fn variable(&self) -> String {
        let name = self.slug.to_ascii_uppercase().replace('-', "_");
        let prefix = if name.starts_with(|c: char| c.is_ascii_digit()) { "MCP_" } else { "" };
        format!("{prefix}{name}_API_KEY")
    }
}

/// Small steps towards an [`InstallMethod`] or an [`OauthWay`].
trait Link {
    fn link(self, link: String) -> Self;
}

impl Link for InstallMethod {
    fn link(mut self, link: String) -> Self {
        self.link = Some(link);
        self
    }
}

impl Link for OauthWay {
    fn link(mut self, link: String) -> Self {
        self.link = Some(link);
        self
    }
}

trait Warn {
    fn warn(self, warning: &str) -> Self;
}

impl Warn for InstallMethod {
    fn warn(mut self, warning: &str) -> Self {
        self.warning = Some(warning.to_owned());
        self
    }
}

fn method(client: &str, steps: &[&str], snippets: Vec<Snippet>) -> InstallMethod {
    InstallMethod {
        client: client.to_owned(),
        title: client_title(client).unwrap_or(client).to_owned(),
        steps: steps.iter().map(|&step| step.to_owned()).collect(),
        snippets,
        link: None,
        warning: None,
        oauth: None,
    }
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn headers(key: &str) -> Value {
    json!({ "Authorization": bearer(key) })
}

/// A word for bash and PowerShell, in quotes only if it needs them.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:…".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { bash_quote(text) }
}

fn bash_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn powershell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What JavaScript calls `encodeURIComponent`, which is what the clients undo.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend(['%', hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
    }
    out
}

fn hex_digit(digit: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(digit)])
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://gatehouse.example.com/mcp/acme";
    const KEY: &str = "gth_live_sk_AbCdEfGh_0123-x9Qf";
    const MASK: &str = "gth_live_sk_AbCd…x9Qf";

    fn all(url_keys: UrlKeys) -> Vec<InstallMethod> {
        methods(URL, "acme", KEY, MASK, url_keys)
    }

    fn of(client: &str) -> InstallMethod {
        all(UrlKeys::Allowed).into_iter().find(|method| method.client == client).unwrap()
    }

    fn decode(text: &str) -> String {
        // The inverse by another hand: a query string's rules differ only in `+`, which must never be left unencoded.
        assert!(!text.contains('+'));
        url::form_urlencoded::parse(format!("x={text}").as_bytes()).next().unwrap().1.into_owned()
    }

    fn json_of(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn claude_code_gets_one_command() {
        assert_eq!(
            of("claude-code").snippets[0].text,
            r#"claude mcp add --transport http acme https://gatehouse.example.com/mcp/acme --header "Authorization: Bearer gth_live_sk_AbCdEfGh_0123-x9Qf""#
        );
    }

    #[test]
    fn codex_gets_a_variable_since_it_has_no_header_option() {
        let codex = of("codex");
        assert_eq!(
            codex.snippets[0].text,
            "export ACME_API_KEY=gth_live_sk_AbCdEfGh_0123-x9Qf\ncodex mcp add acme --url https://gatehouse.example.com/mcp/acme --bearer-token-env-var ACME_API_KEY"
        );
        assert_eq!(
            codex.snippets[1].text,
            "$env:ACME_API_KEY = 'gth_live_sk_AbCdEfGh_0123-x9Qf'\ncodex mcp add acme --url https://gatehouse.example.com/mcp/acme --bearer-token-env-var ACME_API_KEY"
        );
        assert_eq!(
            codex.snippets[2].text,
            "[mcp_servers.acme]\nurl = \"https://gatehouse.example.com/mcp/acme\"\nhttp_headers = { Authorization = \"Bearer gth_live_sk_AbCdEfGh_0123-x9Qf\" }"
        );
        assert!(!codex.snippets.iter().any(|snippet| snippet.text.contains("--header")));
        let digits = methods(URL, "7up-eu", KEY, MASK, UrlKeys::Allowed).swap_remove(1);
        assert!(digits.snippets[0].text.starts_with("export MCP_7UP_EU_API_KEY="));
    }

    #[test]
    fn vs_code_gets_both_shells_and_a_link() {
        let code = of("vscode");
        let config = r#"{"name":"acme","type":"http","url":"https://gatehouse.example.com/mcp/acme","headers":{"Authorization":"Bearer gth_live_sk_AbCdEfGh_0123-x9Qf"}}"#;
        assert_eq!(code.snippets[0].text, format!("code --add-mcp '{config}'"));
        assert_eq!(code.snippets[1].text, format!("code --add-mcp '{}'", config.replace('"', "\\\"")));
        let link = code.link.unwrap();
        assert_eq!(decode(link.strip_prefix("vscode:mcp/install?").unwrap()), config);
        assert!(link.starts_with("vscode:mcp/install?%7B%22name%22%3A%22acme%22%2C"));
    }

    #[test]
    fn cursor_gets_a_link_with_the_bare_server() {
        let cursor = of("cursor");
        let link = cursor.link.unwrap();
        let config =
            link.strip_prefix("cursor://anysphere.cursor-deeplink/mcp/install?name=acme&config=").unwrap();
        let config = STANDARD.decode(decode(config)).unwrap();
        let server = json!({ "url": URL, "headers": { "Authorization": format!("Bearer {KEY}") } });
        assert_eq!(json_of(core::str::from_utf8(&config).unwrap()), server);
        assert_eq!(json_of(&cursor.snippets[0].text), json!({ "mcpServers": { "acme": server } }));
    }

    #[test]
    fn apk_09_connector_urls_hold_a_key_only_where_that_works() {
        let connector = format!("{URL}?api_key={KEY}");
        for client in ["claude-desktop", "chatgpt"] {
            let allowed = of(client);
            assert_eq!(allowed.snippets[0].text, connector);
            assert_eq!(allowed.snippets[0].shown, format!("{URL}?api_key={MASK}"));
            assert_eq!(allowed.warning.as_deref(), Some(URL_WARNING));
        }
        for url_keys in [UrlKeys::OrgOff, UrlKeys::KeyNotMarked] {
            for method in all(url_keys) {
                assert!(method.snippets.iter().all(|snippet| !snippet.text.contains("api_key=")));
                if method.client == "chatgpt" {
                    assert!(method.snippets.is_empty() && method.warning.unwrap().contains("URL"));
                }
            }
        }
        let desktop = all(UrlKeys::OrgOff).swap_remove(4);
        assert_eq!(
            json_of(&desktop.snippets[0].text),
            json!({ "mcpServers": { "acme": {
                "command": "npx",
                "args": ["-y", "mcp-remote", URL, "--header", "Authorization:${AUTH}"],
                "env": { "AUTH": format!("Bearer {KEY}") },
            } } })
        );
    }

    #[test]
    fn the_other_clients_get_what_they_read() {
        assert_eq!(
            of("gemini-cli").snippets[0].text,
            r#"gemini mcp add --scope user --transport http --header "Authorization: Bearer gth_live_sk_AbCdEfGh_0123-x9Qf" acme https://gatehouse.example.com/mcp/acme"#
        );
        let headers = json!({ "Authorization": format!("Bearer {KEY}") });
        assert_eq!(
            json_of(&of("windsurf").snippets[0].text),
            json!({ "mcpServers": { "acme": { "serverUrl": URL, "headers": headers } } })
        );
        assert_eq!(
            json_of(&of("zed").snippets[0].text),
            json!({ "context_servers": { "acme": { "url": URL, "headers": headers } } })
        );
        let goose = of("goose");
        assert_eq!(
            goose.link.as_deref(),
            Some(
                "goose://extension?name=acme&url=https%3A%2F%2Fgatehouse.example.com%2Fmcp%2Facme&type=streamable_http&header=Authorization%3DBearer%20gth_live_sk_AbCdEfGh_0123-x9Qf"
            )
        );
        assert!(goose.snippets[0].shown.ends_with("Bearer%20gth_live_sk_AbCd…x9Qf"));
    }

    #[test]
    fn what_is_shown_is_what_is_copied_but_for_the_key() {
        assert_eq!(all(UrlKeys::Allowed).len(), CLIENTS.len());
        assert_eq!(client_title("amp"), None);
        for method in all(UrlKeys::Allowed) {
            assert_eq!(method.oauth.as_ref().map(|way| &way.client), Some(&method.client));
            assert_eq!(client_title(&method.client), Some(method.title.as_str()));
            assert_eq!(
                wants_url_key(&method.client),
                method.snippets.iter().any(|snippet| snippet.text.contains("api_key="))
            );
            assert!(!method.steps.is_empty(), "{}", method.client);
            assert!(!method.steps.join(" ").contains(KEY), "{}", method.client);
            for snippet in &method.snippets {
                assert!(snippet.text.contains(KEY) && !snippet.shown.contains(KEY), "{}", snippet.label);
                assert_eq!(snippet.shown.replace(MASK, KEY), snippet.text, "{}", snippet.label);
            }
        }
    }

    #[test]
    fn apk_10_signing_in_takes_no_key() {
        let ways = oauth_ways(URL, "acme");
        let of = |client: &str| ways.iter().find(|way| way.client == client).unwrap();
        for (client, text) in [
            ("claude-code", "claude mcp add --transport http acme https://gatehouse.example.com/mcp/acme"),
            ("codex", "codex mcp add acme --url https://gatehouse.example.com/mcp/acme"),
            (
                "vscode",
                r#"code --add-mcp '{"name":"acme","type":"http","url":"https://gatehouse.example.com/mcp/acme"}'"#,
            ),
            ("gemini-cli", "gemini mcp add --transport http acme https://gatehouse.example.com/mcp/acme"),
            ("chatgpt", URL),
        ] {
            assert_eq!(of(client).snippets[0].text, text);
        }
        let desktop = json_of(&of("claude-desktop").snippets[1].text);
        assert_eq!(
            desktop,
            json!({ "mcpServers": { "acme": { "command": "npx", "args": ["-y", "mcp-remote", URL] } } })
        );
        let config = of("cursor").link.as_deref().unwrap().split_once("&config=").unwrap().1;
        let config = STANDARD.decode(decode(config)).unwrap();
        assert_eq!(json_of(core::str::from_utf8(&config).unwrap()), json!({ "url": URL }));
        for way in &ways {
            assert!(way.snippets.iter().all(|snippet| snippet.text == snippet.shown));
            let all = format!("{way:?}{:?}", way.snippets.iter().map(|s| &s.text).collect::<Vec<_>>());
            assert!(!all.contains("Authorization") && !all.contains("api_key"), "{}", way.client);
        }
    }

    #[test]
    fn odd_endpoints_do_not_break_out_of_their_quotes() {
        let url = "https://gate'house.example.com/a b/mcp/acme";
        let methods = methods(url, "acme", KEY, MASK, UrlKeys::Allowed);
        assert!(
            methods[0].snippets[0]
                .text
                .contains(r"acme 'https://gate'\''house.example.com/a b/mcp/acme' --header")
        );
        assert!(methods[2].snippets[0].text.contains(r"gate'\''house"));
        assert!(methods[2].snippets[1].text.contains("gate''house"));
    }
}
