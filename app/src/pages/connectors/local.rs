//! The processes of a server on the machine, for those who look after its connector.

use leptos::prelude::*;
use model::connectors::{LocalLine, LocalState};

use crate::{
    components::{Card, Fact, Facts, Time},
    erase::Erase as _,
};

/// What runs, and what it wrote.
pub(super) fn processes(state: LocalState, now: i64) -> AnyView {
    let count = state.running.len();
    let running = match (state.rests, state.running.iter().min()) {
        (_, Some(since)) => {
            let what =
                if count == 1 { "One, since ".to_owned() } else { format!("{count}, the first since ") };
            view! { <span>{what} <Time at=*since now=now /></span> }.erase()
        }
        (Some(seconds), None) => {
            format!("None: it kept ending, and is started again in {seconds} seconds.").into_any()
        }
        (None, None) => "None. The next call starts it.".into_any(),
    };
    let log = if state.log.is_empty() {
        view! { <p class="hint">"Nothing yet."</p> }.erase()
    } else {
        let lines = state.log.into_iter().map(|line| self::line(line, now)).collect_view();
        view! {
            <pre class="server-log" tabindex="0" role="region" aria-label="What the server wrote to its standard error">
                {lines}
            </pre>
        }
        .erase()
    };
    view! {
        <Card
            title="Processes"
            about="This server runs on the machine of Gatehouse: what this node knows of it, and the last that it wrote to its standard error."
        >
            <div class="stack">
                <Facts>
                    <Fact term="Running">{running}</Fact>
                </Facts>
                {log}
            </div>
        </Card>
    }
    .erase()
}

fn line(line: LocalLine, now: i64) -> AnyView {
    let LocalLine { at, own, text } = line;
    let by = if own { "Gatehouse: " } else { "" };
    view! { <span class="server-line" class:own=own><Time at=at now=now /> " " {by} {text} "\n"</span> }
        .erase()
}
