//! The form of an API key, and of the other secrets that we hand out: a prefix, a secret in base62, and a checksum, so
//! that a mistyped one is refused without a look-up and a scanner can tell it from noise (APK-01).

use sha2::{Digest as _, Sha256};

/// What every API key starts with.
pub const PREFIX: &str = "gth_live_sk_";
/// What the key of every connection starts with.
pub const CONNECTION_PREFIX: &str = "gth_conn_sk_";
/// What the id of every OAuth client that was not named by a URL starts with.
pub const CLIENT_PREFIX: &str = "gth_client_";
/// What the secret of every OAuth client starts with.
pub const CLIENT_SECRET_PREFIX: &str = "gth_secret_";
/// For secret scanners: prefix, at least 32 characters of secret, 6 of checksum.
pub const SCANNER_REGEX: &str = r"gth_live_sk_[0-9A-Za-z]{38,}";

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of secret in a new key: 62^43 is more than 2^256.
const SECRET: usize = 43;
const MIN_SECRET: usize = 32;
const CHECKSUM: usize = 6;
/// Longer texts are no keys; this bounds the work on junk.
const MAX: usize = 256;

/// Characters of a client's id, which is no secret but must not be guessed by counting.
const ID: usize = 22;

/// A new API key. `fill` fills a slice with bytes fit for secrets.
pub fn generate(fill: impl Fn(&mut [u8])) -> String {
    generate_as(PREFIX, fill)
}

/// A new secret with another prefix.
pub fn generate_as(prefix: &str, fill: impl Fn(&mut [u8])) -> String {
    let mut key = random(prefix, SECRET, fill);
    let checksum = checksum(key.as_bytes());
    key.extend(checksum.map(char::from));
    key
}

/// A new id of an OAuth client.
pub fn client_id(fill: impl Fn(&mut [u8])) -> String {
    random(CLIENT_PREFIX, ID, fill)
}

/// The prefix and so many characters of base62.
fn random(prefix: &str, characters: usize, fill: impl Fn(&mut [u8])) -> String {
    let length = prefix.len() + characters;
    let mut text = String::with_capacity(length + CHECKSUM);
    text.push_str(prefix);
    let mut bytes = [0; 64];
    while text.len() < length {
        fill(&mut bytes);
        // 248 is four times 62: bytes from there on would make some characters likelier than others.
        let fair = bytes.iter().filter(|b| **b < 248).map(|b| char::from(ALPHABET[usize::from(b % 62)]));
        text.extend(fair.take(length - text.len()));
    }
    bytes.fill(0);
    text
}

/// What may be shown of a secret: its prefix and four characters.
pub fn shown(prefix: &str, secret: &str) -> String {
    secret.chars().take(prefix.len() + 4).collect()
}

/// The CRC32 of the text in base62: six characters, the most significant digit first.
fn checksum(text: &[u8]) -> [u8; CHECKSUM] {
    let mut rest = crc32fast::hash(text) as usize;
    let mut out = [b'0'; CHECKSUM];
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[rest % 62];
        rest /= 62;
    }
    out
}

/// Whether the text has the form of an API key, checksum included. It says nothing about whether the key exists.
pub fn check(key: &str) -> bool {
    check_as(PREFIX, key)
}

/// The same for a secret with another prefix.
pub fn check_as(prefix: &str, key: &str) -> bool {
    let Some(rest) = key.strip_prefix(prefix) else { return false };
    if rest.len() < MIN_SECRET + CHECKSUM
        || key.len() > MAX
        || !rest.bytes().all(|b| b.is_ascii_alphanumeric())
    {
        return false;
    }
    let (body, sum) = key.as_bytes().split_at(key.len() - CHECKSUM);
    checksum(body) == *sum
}

/// What is kept of a key. It needs no salt: the secret has more than 190 bits (APK-02).
pub fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    fn noise() -> impl Fn(&mut [u8]) {
        let state = Cell::new(1u32);
        move |bytes| {
            for byte in bytes {
                state.set(state.get().wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
                *byte = (state.get() >> 24) as u8;
            }
        }
    }

    fn key() -> String {
        generate(noise())
    }

    #[test]
    fn oat_04_a_clients_secret_has_the_form_of_a_key_under_its_own_prefix() {
        let secret = generate_as(CLIENT_SECRET_PREFIX, noise());
        assert!(check_as(CLIENT_SECRET_PREFIX, &secret) && !check(&secret));
        assert_eq!(secret.len(), CLIENT_SECRET_PREFIX.len() + 43 + 6);
        let id = client_id(noise());
        assert!(id.starts_with(CLIENT_PREFIX) && id.len() == CLIENT_PREFIX.len() + 22);
        assert_eq!(shown(CLIENT_SECRET_PREFIX, &secret).len(), CLIENT_SECRET_PREFIX.len() + 4);
    }

    #[test]
    fn apk_01_a_new_key_has_the_form_and_any_change_breaks_it() {
        let key = key();
        assert!(key.starts_with(PREFIX) && key.len() == PREFIX.len() + 43 + 6);
        assert!(check(&key));
        for at in 0..key.len() {
            let mut bytes = key.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(!check(std::str::from_utf8(&bytes).unwrap()), "{at}");
        }
        for bad in [
            "",
            "gth_live_sk_",
            &key[..key.len() - 1],
            &format!("{key} "),
            &format!("{key}\n"),
            &key.to_uppercase(),
        ] {
            assert!(!check(bad), "{bad:?}");
        }
    }

    #[test]
    fn apk_01_the_checksum_is_crc32_in_base62_with_leading_zeros() {
        // CRC32("123456789") is 0xCBF43926 = 3421780262.
        assert_eq!(&checksum(b"123456789"), b"3jZRME");
        assert_eq!(checksum(b""), *b"000000");
    }

    #[test]
    fn apk_02_a_hash_is_sha_256() {
        assert_eq!(hash("")[..4], [0xE3, 0xB0, 0xC4, 0x42]);
    }
}
