use leptos::prelude::*;
use model::{
    custom_domain::{GRACE_HOURS, SEARCH_HOURS},
    paths,
};

use crate::{
    components::{CodeBlock, PageHeader},
    erase::Erase as _,
};

const RECORDS: &str = "mcp.acme.com.                    CNAME  gateway.example.com.\n_gatehouse-verify.mcp.acme.com.  TXT    \"gatehouse-domain=…\"";

/// How a domain comes into use, and what is there.
pub(super) fn help() -> AnyView {
    view! {
        <PageHeader title="Custom domain" about="How a name of your own leads to your organisation, and what is there." />
        <div class="prose">
            <p>
                "With a domain of your own, agents reach your organisation at " <code>"https://mcp.acme.com/mcp"</code>
                ". Enter it under " <a href=paths::settings_domain()>"Settings, Custom domain"</a>
                ". The address of this instance goes on working."
            </p>
            <h2>"Two records prove it"</h2>
            <p>"Set both where your DNS is managed. The page has the values to copy."</p>
            <CodeBlock label="DNS" text=RECORDS />
            <ul>
                <li>"Gatehouse looks for them by itself for " {SEARCH_HOURS} " hours, and whenever you press Verify. New records can take a while to be seen."</li>
                <li>"Leave them there: they are looked at once a day. When they are missing, admins get a mail, and after " {GRACE_HOURS} " hours the domain is removed."</li>
                <li>"Whoever proves a domain first has it. A domain that was only entered is nobody's yet."</li>
                <li>"It has to be a name below your own domain: acme.com itself cannot have a CNAME record."</li>
            </ul>
            <h2>"What is there"</h2>
            <ul>
                <li><code>"/mcp"</code> " and " <code>"/mcp/{slug}"</code> ": your MCP endpoint; " <code>"/mcp/{slug}/{connector}"</code> ": one connector alone; " <code>"/mcp/sse"</code> " for clients of 2024-11-05."</li>
                <li><code>"/v1/mcp/invoke"</code> " and " <code>"/v1/mcp/tools"</code> ", for callers that do not speak MCP."</li>
                <li>"The metadata that tells clients where to sign in: that is at the address of this instance, as always."</li>
            </ul>
            <p>"Nothing else is: no dashboard, no log-in, no cookies. Another organisation's endpoint gets 404."</p>
            <h2>"Tokens"</h2>
            <p>
                "A client that signs in for the domain gets access tokens for it. They are refused as soon as the domain is not verified any more; \
                 then the client signs in again. API keys work at both addresses."
            </p>
            <h2>"Certificates"</h2>
            <p>"The operator's reverse proxy gets them, and only for domains that are proven. The first call can take some seconds for that."</p>
        </div>
    }
    .erase()
}
