use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    activity::{Bodies, LogEntry, Timings},
    paths,
};

use super::{
    api::LoadRequest,
    parts::{duration, outcome, size},
};
use crate::{
    components::{Callout, Card, CodeBlock, CopyButton, Crumb, Fact, Facts, PageHeader, Time, Tone},
    erase::Erase as _,
    page::{Loaded, load_by, page},
};

/// One request.
pub struct ActivityEntryPage {
    entry: Loaded<LogEntry>,
}

#[lazy_route]
impl LazyRoute for ActivityEntryPage {
    fn data() -> Self {
        Self { entry: load_by("id", |id| LoadRequest { id }) }
    }

    fn view(this: Self) -> AnyView {
        page(this.entry, move |entry, _| {
            let title = if entry.line.tool.is_empty() { &entry.line.method } else { &entry.line.tool };
            let failed = (!entry.message.is_empty()).then(|| {
                let message = entry.message.clone();
                view! { <Callout tone=Tone::Warn title="What was answered"><p>{message}</p></Callout> }
                    .erase()
            });
            let title = title.clone();
            let kept = bodies(entry.bodies.clone());
            let spent = times(entry.line.total_us, entry.timings);
            view! {
                <div class="narrow">
                    <PageHeader title=title crumbs=vec![Crumb::new(paths::activity(), "Activity")] />
                    <div class="stack-wide">
                        {failed}
                        {spent}
                        {facts(entry)}
                        {kept}
                    </div>
                </div>
            }
            .erase()
        })
    }
}

/// The parts of a request's time, in the order in which they were spent: class, name, what it is, microseconds.
fn segments(times: Timings) -> Vec<(&'static str, &'static str, &'static str, i64)> {
    let rest = (times.gateway() - times.auth).max(0);
    vec![
        ("auth", "Credential", "Reading the head and checking who asks.", times.auth),
        ("receive", "Request", "Receiving the request from the client.", times.receive),
        (
            "queue",
            "Queue",
            "Waiting for a turn: the same credential had too many calls running.",
            times.queue,
        ),
        (
            "first",
            "Server, first byte",
            "From asking the connector's server until it began to answer.",
            times.first_byte,
        ),
        ("upstream", "Server, rest", "From there until its answer was whole.", times.upstream),
        ("rest", "Gatehouse", "Everything else: limits, routing, passing the answer on.", rest),
    ]
}

fn times(total: i64, times: Timings) -> AnyView {
    let segments = segments(times);
    let whole = segments.iter().map(|(.., us)| us).sum::<i64>().max(1);
    let mut at = 0;
    let mut bars = Vec::new();
    let mut rows = Vec::new();
    for (class, name, about, us) in segments {
        // In thousandths of the whole.
        let (x, end) = (at * 1000 / whole, (at + us) * 1000 / whole);
        at += us;
        if end > x {
            bars.push(
                view! { <rect class=format!("time-{class}") x=x.to_string() y="0" width=(end - x).to_string() height="24" /> }
                    .erase(),
            );
        }
        let share = format!("{} %", us * 100 / whole);
        rows.push(
            view! {
                <tr>
                    <th scope="row"><span class=format!("time-key time-{class}")></span> {name}</th>
                    <td class="number">{duration(us)}</td>
                    <td class="number">{share}</td>
                    <td class="muted">{about}</td>
                </tr>
            }
            .erase(),
        );
    }
    let label = format!("Where {} went; the table below has the same numbers", duration(total));
    view! {
        <Card title="Where the time went" about=format!("{} in all", duration(total)) class="times">
            <svg class="time-bar" viewBox="0 0 1000 24" preserveAspectRatio="none" role="img" aria-label=label>
                {bars}
            </svg>
            <div class="table-box">
                <table class="table time-table">
                    <caption class="visually-hidden">"Where the time went"</caption>
                    <thead>
                        <tr>
                            <th scope="col">"Part"</th>
                            <th scope="col" class="number">"Time"</th>
                            <th scope="col" class="number">"Share"</th>
                            <th scope="col">"What it is"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </Card>
    }
    .erase()
}

fn copied(text: String, name: &'static str) -> AnyView {
    view! {
        <span class="with-copy"><code class="mono">{text.clone()}</code> <CopyButton text=text name=name /></span>
    }
    .erase()
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "Not said".to_owned() } else { text.to_owned() }
}

fn facts(entry: LogEntry) -> AnyView {
    let line = entry.line.clone();
    let (now, requests) = (entry.now, entry.upstream_requests);
    let status = format!("HTTP {}", entry.status);
    let sizes = format!("{} in · {} out", size(entry.bytes_in), size(entry.bytes_out));
    let (client, address, node) = (or_none(&entry.client), or_none(&entry.address), or_none(&entry.node));
    let (request_id, trace_id) = (entry.request_id, entry.trace_id);
    let kind = match entry.principal_kind.as_str() {
        "api_key" => "API key",
        "connection" => "MCP connection",
        "oauth_client" => "OAuth client",
        "identity_provider" => "Identity provider",
        _ => "Member, in the Playground",
    };
    let code = entry.code.map(|code| format!(" · error {code}"));
    let connector = or_none(&line.connector);
    view! {
        <Card title="The request">
            <Facts>
                <Fact term="Outcome">{outcome(line.outcome)}</Fact>
                <Fact term="Status">{status} {code}</Fact>
                <Fact term="When"><Time at=line.at now=now /></Fact>
                <Fact term="Method"><code>{line.method.clone()}</code></Fact>
                <Fact term="Connector">{connector}</Fact>
                <Fact term="Who">{line.principal.clone()} <span class="muted">{format!(" · {kind}")}</span></Fact>
                <Fact term="Client">{client}</Fact>
                <Fact term="From">{address}</Fact>
                <Fact term="Sizes">{sizes}</Fact>
                <Fact term="Requests to the server">{requests}</Fact>
                <Fact term="Request ID">{copied(request_id, "Copy request ID")}</Fact>
                <Fact term="Trace ID">{copied(trace_id, "Copy trace ID")}</Fact>
                <Fact term="Answered by">{node}</Fact>
            </Facts>
        </Card>
    }
    .erase()
}

fn bodies(bodies: Option<Bodies>) -> AnyView {
    match bodies {
        Some(Bodies { arguments, result }) => {
            let arguments = if arguments.is_empty() { "{}".to_owned() } else { arguments };
            view! {
                <Card title="Arguments and result" about="What looked like a credential was taken out before they were kept.">
                    <div class="stack">
                        <CodeBlock label="Arguments (JSON)" text=arguments />
                        <CodeBlock label="Result (JSON)" text=result />
                    </div>
                </Card>
            }
            .erase()
        }
        None => view! {
            <p class="muted">
                "Arguments and result of this request were not kept. "
                <a href=paths::activity_settings()>"What is kept"</a>
            </p>
        }
        .erase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_add_up_to_the_whole() {
        let times = Timings { auth: 40, receive: 10, queue: 0, first_byte: 500, upstream: 100, total: 700 };
        assert_eq!(segments(times).iter().map(|(.., us)| us).sum::<i64>(), 700);
        // Parts that were measured apart may be larger than the whole: none is negative.
        let odd = Timings { auth: 5, first_byte: 900, total: 700, ..times };
        assert!(segments(odd).iter().all(|(.., us)| *us >= 0));
    }
}
