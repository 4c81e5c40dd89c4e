//! Which client it is, and what to do with it when a step fails.

use model::doctor::Stage;

/// Clients that behave in ways of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    ClaudeCode,
    ClaudeAi,
    ChatGpt,
    Codex,
    Cursor,
    VsCode,
    Inspector,
    McpRemote,
    Other,
}

impl Client {
    /// Recognises it by its name, its `User-Agent`, its id and the hosts it is sent back to: whatever was seen of it.
    pub(super) fn recognise<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let seen: Vec<String> = texts.map(str::to_ascii_lowercase).collect();
        let has = |word: &str| seen.iter().any(|text| text.contains(word));
        match () {
            () if has("claude code") || has("claude-code") => Self::ClaudeCode,
            () if has("codex") => Self::Codex,
            () if has("chatgpt") || has("openai-mcp") => Self::ChatGpt,
            () if has("mcp-remote") || has("mcp cli client") => Self::McpRemote,
            () if has("inspector") => Self::Inspector,
            () if has("cursor") => Self::Cursor,
            () if has("visual studio code") || has("vscode") => Self::VsCode,
            () if has("claude.ai") || has("claude.com") || seen.iter().any(|text| text == "claude") => {
                Self::ClaudeAi
            }
            () => Self::Other,
        }
    }

    pub(super) const fn name(self) -> Option<&'static str> {
        match self {
            Self::ClaudeCode => Some("Claude Code"),
            Self::ClaudeAi => Some("Claude.ai"),
            Self::ChatGpt => Some("ChatGPT"),
            Self::Codex => Some("Codex"),
            Self::Cursor => Some("Cursor"),
            Self::VsCode => Some("VS Code"),
            Self::Inspector => Some("MCP Inspector"),
            Self::McpRemote => Some("mcp-remote"),
            Self::Other => None,
        }
    }

    /// How it is made to sign in.
    const fn sign_in(self) -> &'static str {
        match self {
            Self::ClaudeCode => "In Claude Code, run /mcp, choose the server and Authenticate.",
            Self::ClaudeAi => "In Claude.ai, open Settings, Connectors, and press Connect at this connector.",
            Self::ChatGpt => {
                "In ChatGPT, open Settings, Apps & Connectors, and connect it again; choose OAuth as authentication."
            }
            Self::Codex => "Run: codex mcp login NAME",
            Self::Cursor => "In Cursor, open Settings, MCP, and press the button that asks for a login.",
            Self::VsCode => {
                "In VS Code, run MCP: List Servers, choose the server and start it; it then asks to sign in."
            }
            Self::Inspector => "In the Inspector, open Authentication and start the OAuth flow.",
            Self::McpRemote => "Start mcp-remote again without --header; it then opens a browser.",
            Self::Other => "Start its login, and check that it supports OAuth for MCP servers.",
        }
    }

    /// How it is made to forget what it stored.
    const fn forget(self) -> &'static str {
        match self {
            Self::ClaudeCode => "In Claude Code, run: claude mcp logout NAME, then authenticate again.",
            Self::ClaudeAi => "In Claude.ai, remove the connector and add it again.",
            Self::ChatGpt => "In ChatGPT, delete the connector and create it again.",
            Self::Codex => "Run: codex mcp logout NAME, then codex mcp login NAME",
            Self::Cursor => "In Cursor, log out of the server in Settings, MCP, then log in again.",
            Self::VsCode => {
                "In VS Code, run Authentication: Remove Dynamic Authentication Providers, then start the server again."
            }
            Self::Inspector => "In the Inspector, clear the OAuth state, then connect again.",
            Self::McpRemote => "Delete the folder ~/.mcp-auth, then start mcp-remote again.",
            Self::Other => "Have it forget the stored registration and tokens, then sign in again.",
        }
    }
}

/// What happened, and what to do about it, when a step failed with this code.
pub(super) fn failure(client: Client, stage: Stage, error: &str, detail: &str) -> (String, String) {
    let (what, fix) = match (stage, error) {
        (Stage::Challenge, "key_invalid") => (
            "It sent an API key that does not work here.",
            "Check that the key is whole, enabled and not expired, and that the URL is the one of the key's organisation. To sign in instead, take the key out of the client's settings.",
        ),
        (Stage::Challenge, "credential_in_query") => (
            "It sent a credential in the URL, which is not accepted here.",
            "Send it as X-API-Key, or sign in. An owner or admin can allow keys in URLs on the page of the API keys.",
        ),
        (Stage::Register, "invalid_redirect_uri") => (
            "It wanted to be sent back to an address that is not accepted.",
            "Only https addresses, loopback addresses and app schemes of its own are. Update the client; if it lets you choose, use http://127.0.0.1 with a port.",
        ),
        (Stage::Register, "rate_limited" | "temporarily_unavailable" | "too_many_requests") => (
            "Too many clients registered from its address or in this instance.",
            "Wait an hour, or make a client on the page of the OAuth clients and enter its id in the client.",
        ),
        (Stage::Register, _) => (
            "Its registration was refused.",
            "Update the client, or make a client on the page of the OAuth clients and enter its id.",
        ),
        (Stage::Authorize, "invalid_client" | "unknown_client" | "unauthorized_client") => {
            return (
                "It asked with a client id that is not known here any more.".to_owned(),
                client.forget().to_owned(),
            );
        }
        (Stage::Authorize, "bad_redirect_uri" | "invalid_redirect_uri") => {
            return (
                "It wanted to be sent back to another address than it registered.".to_owned(),
                client.forget().to_owned(),
            );
        }
        (Stage::Authorize | Stage::Token, "invalid_target") => (
            "It asked for another resource than this endpoint.",
            "Enter exactly the endpoint URL in the client, without a slash at the end and without further path.",
        ),
        (Stage::Authorize | Stage::Token, "invalid_scope") => (
            "It asked for a scope that does not exist here.",
            "Let it ask for mcp:call, or for mcp:call:<connector> with a connector that exists.",
        ),
        (Stage::Authorize | Stage::Token, "access_denied") => (
            "The person is no member of this organisation, or may not connect clients here.",
            "Invite them, or let somebody connect it who may use the connectors. An owner or admin decides on the page of the MCP connections whether clients that nobody registered may be connected.",
        ),
        (Stage::Authorize, "login_required" | "consent_required") => (
            "It asked without letting the person answer (prompt=none), which is never enough here.",
            "Let it ask with a page: update the client, or take prompt=none out of its settings.",
        ),
        (Stage::Authorize, _) => (
            "Its request for access was not valid.",
            "Update the client: it has to send PKCE with S256, its redirect URI and the resource.",
        ),
        (Stage::Consent, "access_denied" | "denied") => {
            let what = if detail.is_empty() { "The person chose Deny." } else { detail };
            return (what.to_owned(), "Connect again and choose Allow, if that was a mistake.".to_owned());
        }
        (Stage::Consent, "expired") => {
            return (
                "The consent page was left open for more than ten minutes.".to_owned(),
                client.sign_in().to_owned(),
            );
        }
        (Stage::Token, "invalid_client") => {
            return (
                "Its id or secret was refused when it asked for a token.".to_owned(),
                client.forget().to_owned(),
            );
        }
        (Stage::Token, "invalid_grant") if detail == super::RENEWING => {
            ("Its connection was revoked or has ended.", "Sign in again in the client.")
        }
        (Stage::Token, "invalid_grant") => (
            "Its code was used before, has expired, or belongs to another request.",
            "Sign in again in the client.",
        ),
        (Stage::FirstCall, "foreign_token") => (
            "It called with a token of another issuer that is not accepted here.",
            "Test such a token on the page Single sign-on: it says which condition fails. Without an identity provider of your own, sign in at Gatehouse instead.",
        ),
        (Stage::FirstCall, _) => {
            return (
                "It called with a token that is not accepted here.".to_owned(),
                format!("Check that the client's URL is exactly the endpoint URL, then: {}", client.forget()),
            );
        }
        _ => {
            return (
                format!("The step {} failed with {error}.", stage.title()),
                format!("Run the self-test below. If it passes: {}", client.forget()),
            );
        }
    };
    (what.to_owned(), fix.to_owned())
}

/// What it means that nothing came after this stage.
pub(super) fn silence(client: Client, last: Stage) -> (String, String) {
    let (what, fix) = match last {
        Stage::Challenge => {
            let fix = match client {
                Client::ClaudeAi | Client::ChatGpt => format!(
                    "Run the self-test below: if a proxy takes the header WWW-Authenticate away, the client cannot know how to go on. Otherwise: {}",
                    client.sign_in()
                ),
                _ => format!(
                    "{} If that does nothing, run the self-test below: a proxy may take the header WWW-Authenticate away.",
                    client.sign_in()
                ),
            };
            return ("It heard how to sign in, and did not begin to.".to_owned(), fix);
        }
        Stage::ResourceMetadata => (
            "It read where to sign in, and was not seen going there.",
            "Run the self-test below: the paths under /.well-known have to reach Gatehouse.".to_owned(),
        ),
        Stage::ServerMetadata => (
            "It read how to sign in, and neither registered nor asked for access.",
            match client {
                Client::ClaudeAi | Client::ChatGpt => "Remove it there and add it again; its service caches what it read.".to_owned(),
                _ => format!("{} If it needs a client id, make one on the page of the OAuth clients.", client.sign_in()),
            },
        ),
        Stage::Register => (
            "It registered, and sent nobody to the consent page.",
            match client {
                Client::McpRemote | Client::ClaudeCode | Client::Codex | Client::Inspector => {
                    "It opens a browser on its own computer: where there is none, open the address that it prints.".to_owned()
                }
                _ => format!("Allow it to open a browser window, then: {}", client.sign_in()),
            },
        ),
        Stage::Authorize => (
            "The consent page was opened, and nobody decided.",
            "Log in as a member of this organisation and decide within ten minutes.".to_owned(),
        ),
        Stage::Consent => (
            "Access was given, and the client never came for its token.",
            match client {
                Client::ClaudeCode | Client::Codex | Client::McpRemote | Client::Inspector | Client::Cursor => {
                    "It waits for the browser on a port of its own computer: run it on the same computer as the browser, and let no firewall stand between.".to_owned()
                }
                _ => format!("Its service may not reach this instance. {}", client.sign_in()),
            },
        ),
        Stage::Token => (
            "It has a token, and made no call with it.",
            match client {
                Client::ClaudeAi | Client::ChatGpt => {
                    "Check that the URL entered there is exactly the endpoint URL: it compares it with the resource metadata and otherwise gives up without a word.".to_owned()
                }
                _ => format!("Check that the client's URL is exactly the endpoint URL, then: {}", client.forget()),
            },
        ),
        Stage::FirstCall => ("It is connected.", String::new()),
    };
    (what.to_owned(), fix)
}
