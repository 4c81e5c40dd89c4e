use crate::erase::Erase as _;
use leptos::prelude::*;
use model::connectors::{Breaker, HEALTH_SLOT, HealthHistory, HealthSlot};

use super::parts::counted;
use crate::components::{Callout, Card, DataTable, Time, Tone, absolute};

/// The bars of a day.
const BARS: i64 = 48;

/// How the checks of the last day went, and whether the server is asked just now.
pub(super) fn health(history: HealthHistory, now: i64) -> AnyView {
    let HealthHistory { began_at, slots, breaker } = history;
    let bars = (0..BARS)
        .map(|at| {
            let at = began_at + at * HEALTH_SLOT;
            let slot = slots.iter().find(|slot| slot.began_at == at);
            view! { <span class=kind(slot) title=format!("{}: {}", absolute(at), told(slot))></span> }.erase()
        })
        .collect_view();
    let failed: Vec<_> = slots.iter().filter(|slot| slot.failed > 0).rev().cloned().collect();
    let failures = (!failed.is_empty()).then(|| failures(failed, now));
    view! {
        <Card title="Health, last 24 hours" about=summary(&slots)>
            <div class="stack">
                {asked(breaker)}
                <div>
                    <div class="health-bars" aria-hidden="true">{bars}</div>
                    <p class="health-ends fine" aria-hidden="true"><span>"24 hours ago"</span><span>"now"</span></p>
                </div>
                {failures}
            </div>
        </Card>
    }
    .erase()
}

/// Why calls are refused although nothing was switched off.
fn asked(breaker: Breaker) -> Option<AnyView> {
    let (title, text, why) = match breaker {
        Breaker::Closed => return None,
        Breaker::Open { seconds, why } => (
            "Calls are refused for now",
            format!(
                "Calls to this server kept failing, so it is left alone: calls are refused at once instead of waiting for it. \
                 In {} one call tries it, and a good check lets one try sooner.",
                counted(seconds, "second")
            ),
            why,
        ),
        Breaker::HalfOpen { why } => (
            "The next call tries the server",
            "Calls to this server kept failing. One call at a time is let through; when one succeeds, all are again.".to_owned(),
            why,
        ),
    };
    Some(
        view! {
            <Callout tone=Tone::Bad title=title>
                <p>{text}</p>
                <p class="server-text">"The last failure: " {why}</p>
            </Callout>
        }
        .erase(),
    )
}

fn failures(failed: Vec<HealthSlot>, now: i64) -> AnyView {
    let rows = failed
        .into_iter()
        .map(|slot| {
            view! {
                <tr>
                    <th scope="row" data-label="Half hour from"><Time at=slot.began_at now=now /></th>
                    <td data-label="Failed">{format!("{} of {}", slot.failed, slot.good + slot.failed)}</td>
                    <td data-label="The last reason"><span class="server-text">{slot.error.unwrap_or_default()}</span></td>
                </tr>
            }
            .erase()
        })
        .collect_view();
    view! {
        <details class="tool-more">
            <summary>"Failed checks"</summary>
            <DataTable caption="Failed checks of the last 24 hours" columns=vec!["Half hour from", "Failed", "The last reason"]>
                {rows}
            </DataTable>
        </details>
    }
    .erase()
}

/// The class of a bar.
const fn kind(slot: Option<&HealthSlot>) -> &'static str {
    match slot {
        None => "none",
        Some(HealthSlot { failed: 0, .. }) => "good",
        Some(HealthSlot { good: 0, .. }) => "bad",
        Some(_) => "mixed",
    }
}

fn told(slot: Option<&HealthSlot>) -> String {
    match slot {
        None => "not checked".to_owned(),
        Some(slot) => format!("{} of {} answered", slot.good, counted(slot.good + slot.failed, "check")),
    }
}

/// "286 of 288 checks were answered, in 41 ms on average."
fn summary(slots: &[HealthSlot]) -> String {
    let (good, all) =
        slots.iter().fold((0, 0), |(good, all), slot| (good + slot.good, all + slot.good + slot.failed));
    if all == 0 {
        return "It was not checked in this time.".to_owned();
    }
    // Weighted by how many checks each half hour had.
    let took =
        slots.iter().map(|slot| u64::from(slot.average_ms.unwrap_or(0)) * u64::from(slot.good)).sum::<u64>();
    let average =
        took.checked_div(u64::from(good)).map_or(String::new(), |ms| format!(", in {ms} ms on average"));
    let were = if all == 1 { "was" } else { "were" };
    format!("{good} of {} {were} answered{average}.", counted(all, "check"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_told_in_a_sentence() {
        assert_eq!(summary(&[]), "It was not checked in this time.");
        let slot =
            |good, failed, average_ms| HealthSlot { began_at: 0, good, failed, average_ms, error: None };
        assert_eq!(summary(&[slot(1, 0, Some(3))]), "1 of 1 check was answered, in 3 ms on average.");
        let day = [slot(30, 0, Some(10)), slot(10, 20, Some(50)), slot(0, 30, None)];
        assert_eq!(summary(&day), "40 of 90 checks were answered, in 20 ms on average.");
        assert_eq!(summary(&day[2..]), "0 of 30 checks were answered.");
        assert_eq!(day.each_ref().map(|slot| kind(Some(slot))), ["good", "mixed", "bad"]);
    }
}
