//! What servers say about how to use them, on the endpoint where several are one: each under its connector's name. It is text
//! of others, so there is not too much of it, and nothing in it is ours.

use core::fmt::Write as _;

use domain::mcp::{json, tools::SEPARATOR};

use super::Exchange;

/// All together, bytes.
const MOST: usize = 16 << 10;

impl Exchange<'_> {
    /// The member `instructions` of a result with the comma before it, or nothing where nobody says anything.
    pub(super) fn instructions(&self) -> String {
        if let Some(only) = self.only {
            let said = only.plane.instructions.as_deref();
            return said
                .map_or_else(String::new, |said| format!(r#","instructions":{}"#, json::quoted(said)));
        }
        let mut all = String::new();
        for connector in self.reachable() {
            let plane = &connector.plane;
            let Some(said) = plane.instructions.as_deref() else { continue };
            let names = if plane.unprefixed {
                "names without a prefix".to_owned()
            } else {
                format!("names that begin with {}{SEPARATOR}", plane.slug)
            };
            let head = format!("# {} ({names})\n\n", plane.name);
            // What does not fit whole is left out, rather than cut in the middle of a sentence.
            if all.len() + head.len() + said.len() + 2 <= MOST {
                let between = if all.is_empty() { "" } else { "\n\n" };
                let _ = write!(all, "{between}{head}{said}");
            }
        }
        if all.is_empty() { all } else { format!(r#","instructions":{}"#, json::quoted(&all)) }
    }
}
