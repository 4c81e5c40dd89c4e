//! Checks of short texts that people type, and numbers as they read them.

use crate::AppError;

/// Whether a character may stand in a name: no control, bidirectional or zero-width characters, which would let one
/// name pass for another (HDR-04).
pub fn printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
}

/// A trimmed name of 1 to `max` characters, or the error at `field`. `what` completes "Enter a name for …".
pub fn name(field: &str, what: &str, text: &str, max: usize) -> Result<String, AppError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(AppError::field(field, "required", format!("Enter a name for {what}")));
    }
    if text.chars().count() > max {
        return Err(AppError::field(field, "too_long", format!("Use at most {max} characters")));
    }
    if !text.chars().all(printable) {
        return Err(AppError::field(field, "characters", "Use letters, digits, spaces and punctuation only"));
    }
    Ok(text.to_owned())
}

/// A trimmed text of at most `max` characters that may be empty and may have line breaks.
pub fn description(field: &str, text: &str, max: usize) -> Result<String, AppError> {
    let text = text.trim();
    if text.chars().count() > max {
        return Err(AppError::field(field, "too_long", format!("Use at most {max} characters")));
    }
    if !text.chars().all(|c| c == '\n' || c == '\r' || printable(c)) {
        return Err(AppError::field(field, "characters", "Use letters, digits, spaces and punctuation only"));
    }
    Ok(text.to_owned())
}

/// An e-mail address in the shape that is worth sending to: one `@`, something on both sides, a dot or `localhost`.
pub fn email(field: &str, text: &str) -> Result<String, AppError> {
    let text = text.trim();
    let fits = text.len() <= 254
        && !text.chars().any(|c| c.is_whitespace() || !printable(c))
        && text.split_once('@').is_some_and(|(local, host)| {
            !local.is_empty()
                && local.len() <= 64
                && !host.contains('@')
                && !host.starts_with('.')
                && host.contains('.')
        });
    if fits {
        Ok(text.to_owned())
    } else {
        Err(AppError::field(field, "email", "Enter an email address like name@example.com"))
    }
}

/// Each of these names once, in order. Put in place one by one: the code that sorts anything is a kilobyte of a page, and
/// there are few of them.
pub fn each_once<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut once: Vec<&str> = Vec::new();
    for name in names {
        if let Err(at) = once.binary_search(&name) {
            once.insert(at, name);
        }
    }
    once
}

/// A number with a thin space between thousands.
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{2009}');
        }
        out.push(digit);
    }
    out
}

/// A limit in words; there may be none.
pub fn limit(limit: Option<u64>) -> String {
    limit.map_or_else(|| "No limit".to_owned(), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hdr_04_names_hold_no_invisible_characters() {
        assert_eq!(name("n", "it", "  ci bot ", 64).unwrap(), "ci bot");
        assert_eq!(name("n", "this key", " ", 64).unwrap_err().message, "Enter a name for this key");
        assert_eq!(name("n", "it", "a\u{202E}b", 64).unwrap_err().code, "characters");
        assert_eq!(name("n", "it", &"x".repeat(65), 64).unwrap_err().code, "too_long");
        assert!(name("n", "it", &"é".repeat(64), 64).is_ok());
    }

    #[test]
    fn addresses_are_checked_for_shape_only() {
        assert!(email("e", "ada@example.com").is_ok());
        for bad in ["", "ada", "ada@", "@example.com", "a b@example.com", "ada@example", "a@b@c.d"] {
            assert!(email("e", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_there_once_and_in_order() {
        assert_eq!(each_once(["b", "a", "b", "c", "a"].into_iter()), ["a", "b", "c"]);
        assert!(each_once(std::iter::empty()).is_empty());
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [7, 1_000, 50_000, 1_234_567].map(number),
            ["7", "1\u{2009}000", "50\u{2009}000", "1\u{2009}234\u{2009}567"]
        );
    }
}
