use crate::erase::Erase as _;
use leptos::prelude::*;
use model::connectors::Health;

/// What a state means. Shown by shape and colour beside the words, never by colour alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing to say: a ring.
    #[default]
    Neutral,
    /// Good: a disc.
    Ok,
    /// Look at it: a triangle.
    Warn,
    /// Broken: a square.
    Bad,
    /// Worth knowing: a diamond.
    Info,
}

impl Tone {
    /// The value of `data-tone`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Neutral => "neutral",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Info => "info",
        }
    }
}

/// A state in a word.
#[component]
pub fn Badge(
    /// The word.
    #[prop(into)]
    label: String,
    /// What it means.
    #[prop(optional)]
    tone: Tone,
) -> impl IntoView {
    view! { <span class="badge" data-tone=tone.as_str()>{label}</span> }.erase()
}

/// The health of a connector.
#[component]
pub fn HealthBadge(
    /// What the last checks found.
    health: Health,
) -> impl IntoView {
    let (label, tone) = match health {
        Health::Unknown => ("Unknown", Tone::Neutral),
        Health::Healthy => ("Healthy", Tone::Ok),
        Health::Degraded => ("Degraded", Tone::Warn),
        Health::Down => ("Down", Tone::Bad),
    };
    view! { <Badge label=label tone=tone /> }.erase()
}

/// A monogram: the first letters of the first two words. The name stands beside it.
#[component]
pub fn Avatar(
    /// Of whom or what.
    #[prop(into)]
    name: String,
) -> impl IntoView {
    // The style sheet makes capitals of them: the tables for that would be in the wasm.
    let letters: String = name.split_whitespace().filter_map(|word| word.chars().next()).take(2).collect();
    view! { <span class="avatar" aria-hidden="true">{letters}</span> }.erase()
}
