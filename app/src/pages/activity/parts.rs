//! What list and detail say alike.

use leptos::prelude::*;
use model::activity::Outcome;

use crate::{
    components::{Badge, Tone},
    erase::Erase as _,
};

/// A duration in microseconds with at most three digits: `850 µs`, `12.4 ms`, `1.2 s`.
pub(super) fn duration(us: i64) -> String {
    match us.max(0) {
        us @ ..1_000 => format!("{us} µs"),
        us @ 1_000..100_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        us @ 100_000..1_000_000 => format!("{} ms", us / 1_000),
        us @ 1_000_000..100_000_000 => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
        us => format!("{} s", us / 1_000_000),
    }
}

/// A size: `312 B`, `4.2 KiB`, `1.0 MiB`.
pub(super) fn size(bytes: i64) -> String {
    const KIB: i64 = 1 << 10;
    const MIB: i64 = 1 << 20;
    match bytes.max(0) {
        bytes @ ..KIB => format!("{bytes} B"),
        bytes @ KIB..MIB => format!("{}.{} KiB", bytes / KIB, bytes % KIB * 10 / KIB),
        bytes => format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB),
    }
}

/// What came of a request, in a word.
pub(super) fn outcome(outcome: Outcome) -> AnyView {
    let tone = match outcome {
        Outcome::Ok => Tone::Ok,
        Outcome::Cancelled => Tone::Neutral,
        Outcome::UpstreamError | Outcome::Failed => Tone::Bad,
        Outcome::ToolError | Outcome::Denied | Outcome::RateLimited | Outcome::BadRequest => Tone::Warn,
    };
    view! { <Badge label=outcome.title() tone=tone /> }.erase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_few_digits() {
        let durations: Vec<_> =
            [0, 850, 1_000, 12_449, 99_999, 100_000, 999_999, 1_000_000, 30_000_000, 120_000_000]
                .map(duration)
                .into();
        assert_eq!(
            durations,
            [
                "0 µs", "850 µs", "1.0 ms", "12.4 ms", "99.9 ms", "100 ms", "999 ms", "1.0 s", "30.0 s",
                "120 s"
            ]
        );
        assert_eq!(
            [0, 1023, 1024, 4_300, 1 << 20].map(size),
            ["0 B", "1023 B", "1.0 KiB", "4.1 KiB", "1.0 MiB"]
        );
    }
}
