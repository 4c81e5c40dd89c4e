//! Backup codes: ten of eighty bits, each with its place in front, so that looking at one costs one hash (MFA-04).

use model::{UserId, factors::BACKUP_CODES};
use zeroize::Zeroizing;

use crate::{Env, Result, env::Rng};

/// Bytes of a code: 80 bits.
const CODE: usize = 10;
/// Characters of a code in base32.
const LETTERS: usize = 16;

/// A code as it was typed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) position: i64,
    pub(super) letters: Zeroizing<String>,
}

/// Reads a code, however it is grouped and whatever its letters look like.
pub(super) fn parse(text: &str) -> Option<Typed> {
    let plain: Zeroizing<String> = Zeroizing::new(
        text.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect(),
    );
    let (position, letters) = plain.split_at_checked(1)?;
    let position = position.parse().ok()?;
    // None of these digits is in the alphabet.
    let letters: String = letters
        .chars()
        .map(|c| match c {
            '0' => 'O',
            '1' => 'I',
            '8' => 'B',
            other => other,
        })
        .collect();
    let known = letters.len() == LETTERS && letters.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
    known.then(|| Typed { position, letters: Zeroizing::new(letters) })
}

/// Makes a set of codes: as they are shown, and as they are stored.
pub(crate) async fn make(env: &Env) -> Result<(Vec<String>, Vec<String>)> {
    let (mut shown, mut hashes) = (Vec::new(), Vec::new());
    for position in 0..BACKUP_CODES {
        let letters = generate(env.rng.as_ref());
        hashes.push(env.passwords.hash_code(env.rng.as_ref(), &letters).await?);
        shown.push(show(position, &letters));
    }
    Ok((shown, hashes))
}

fn generate(rng: &dyn Rng) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; CODE]);
    rng.fill(bytes.as_mut_slice());
    Zeroizing::new(data_encoding::BASE32_NOPAD.encode(bytes.as_slice()))
}

fn show(position: i64, letters: &str) -> String {
    let groups: Vec<&str> =
        letters.as_bytes().chunks(4).map(|group| core::str::from_utf8(group).unwrap_or_default()).collect();
    format!("{position}-{}", groups.join("-"))
}

/// The stored hash of a typed code, if it is one. An unknown place takes as long as a known one.
pub(super) async fn verify(env: &Env, user: UserId, typed: &Typed) -> Result<Option<String>> {
    let hash = {
        let mut tx = env.db.read().await?;
        store::factors::find_code(&mut tx, user, typed.position).await?
    };
    let ok = env.passwords.verify_code(hash.as_deref(), &typed.letters).await?;
    Ok(hash.filter(|_| ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mfa_04_a_code_is_read_however_it_is_written() {
        let shown = show(7, "ABCDEFGHIJKLMNOP");
        assert_eq!(shown, "7-ABCD-EFGH-IJKL-MNOP");
        for text in [shown.as_str(), "7abcdefghijklmnop", " 7 ABCD EFGH 1JKL MN0P "] {
            let typed = parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((typed.position, typed.letters.as_str()), (7, "ABCDEFGHIJKLMNOP"), "{text}");
        }
        for bad in
            ["", "7", "123456", "ABCDEFGHIJKLMNOPQ", "7-ABCD-EFGH-IJKL-MNO", "7-ABCD-EFGH-IJKL-MNOPQ", "é"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
