use leptos::prelude::*;
use model::{paths, webhooks::TOPICS};

use crate::{
    components::{CodeBlock, DataTable, PageHeader},
    erase::Erase as _,
};

const NODE: &str = r#"import { createServer } from "node:http";
import { Webhook } from "standardwebhooks"; // npm install standardwebhooks

const webhook = new Webhook(process.env.WEBHOOK_SECRET); // whsec_…

createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) body += piece;
  try {
    const event = webhook.verify(body, request.headers);
    response.writeHead(204).end();
    console.log(event.type, event.data); // after the answer
  } catch {
    response.writeHead(400).end();
  }
}).listen(8080);"#;

const PYTHON: &str = r#"import os
from flask import Flask, request
from standardwebhooks.webhooks import Webhook, WebhookVerificationError  # pip install standardwebhooks

app = Flask(__name__)
webhook = Webhook(os.environ["WEBHOOK_SECRET"])  # whsec_…

@app.post("/gatehouse")
def receive():
    try:
        event = webhook.verify(request.get_data(), dict(request.headers))
    except WebhookVerificationError:
        return "", 400
    print(event["type"], event["data"])
    return "", 204"#;

const BODY: &str = r#"{
  "id": "msg_01kg…",
  "type": "mcp.created",
  "event": "mcp.created",
  "timestamp": "2026-03-12T10:30:00Z",
  "organization_id": "org_01jx…",
  "data": {
    "mcp_id": "mcp_01kg…",
    "name": "Weather API"
  }
}"#;

const HEADERS: &str = "content-type: application/json\nwebhook-id: msg_01kg…\nwebhook-timestamp: 1773311400\nwebhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=";

/// What webhooks send, how it is verified, what becomes of what is not taken; and, in the same chunk, what a custom domain is
/// What is delivered, and how it is verified.
pub(super) fn help() -> AnyView {
    let rows = TOPICS
        .iter()
        .flat_map(|(_, topics)| topics.iter())
        .map(|topic| {
            view! {
                <tr>
                    <th scope="row" data-label="Event"><code class="mono">{topic.name}</code></th>
                    <td data-label="Says">{topic.about}</td>
                    <td data-label="data"><code class="mono webhook-data">{topic.data}</code></td>
                </tr>
            }
            .erase()
        })
        .collect_view();
    view! {
        <PageHeader title="Webhooks" about="What is sent, how to verify it, and what becomes of what is not taken." />
        <div class="prose">
            <p>
                "A webhook is a URL of yours that is sent a request when something happens in your organisation. Add one under "
                <a href=paths::settings_webhooks()>"Settings, Webhooks"</a> "."
            </p>
            <h2>"What is sent"</h2>
            <p>"A POST with these headers, after Standard Webhooks 1.0.0:"</p>
            <CodeBlock label="Headers" text=HEADERS />
            <CodeBlock label="Body" text=BODY />
            <p>
                <code>"type"</code> " and " <code>"event"</code> " are the same. No body is larger than 20 KiB; where a list had to be cut, "
                <code>"data.truncated"</code> " says so. No secret is ever in it."
            </p>
            <h2>"Verify the signature"</h2>
            <p>
                "Verify every request before you believe it: its signature, made with the secret that was shown when you added the webhook, \
                 and its time, which must not be older than five minutes. The libraries do both. Give them the body as it came, not \
                 parsed and written again."
            </p>
            <CodeBlock label="Node" text=NODE />
            <CodeBlock label="Python" text=PYTHON />
            <p>
                "By hand: decode what follows " <code>"whsec_"</code> " from base64. Take the HMAC-SHA256, with that as the key, of "
                <code>"webhook-id"</code> ", a dot, " <code>"webhook-timestamp"</code> ", a dot and the body. In base64 and behind "
                <code>"v1,"</code> " it has to equal one of the signatures in " <code>"webhook-signature"</code>
                ", which have spaces between. For 24 hours after a rotation there are two."
            </p>
            <h2>"Answer quickly"</h2>
            <ul>
                <li>"Any status from 200 to 299 within 20 seconds says that you took it. Do your work after the answer."</li>
                <li>"Redirects are not followed: they count as failures."</li>
                <li>"429 and 503 with Retry-After make Gatehouse wait as long, up to a day."</li>
                <li>"410 disables the webhook at once."</li>
            </ul>
            <h2>"When it is not taken"</h2>
            <p>
                "It is tried again after 5 seconds, 5 and 30 minutes, 2, 5, 10, 14, 20 and 24 hours, each a fifth more or less: about three \
                 days in all. Then it is given up; you can replay it for 30 days. A webhook that takes nothing for a day brings a \
                 mail to owners and admins, after five days it is disabled. Events that happen while it is paused or disabled wait \
                 until it is resumed."
            </p>
            <p>
                "Every event is delivered at least once, so the same one can come twice: remember each " <code>"webhook-id"</code>
                " for a few days. Events can come in another order than they happened; go by " <code>"timestamp"</code> "."
            </p>
            <h2>"Events"</h2>
            <DataTable caption="Events of webhooks" columns=vec!["Event", "Says", "data"]>
                {rows}
            </DataTable>
            <p>"A test sends " <code>"webhook.test"</code> ", which says that nothing has happened."</p>
        </div>
    }
    .erase()
}
