//! Sealed texts that clients carry for us: session ids and the state of a call that waits for its client.
//!
//! What is in one cannot be read or changed by whoever carries it, and it opens only where it was meant for. No database
//! is involved, so that it works on every node and after a restart. The key is derived from the master key; texts that were
//! sealed under a master key that was replaced open for as long as that one is configured.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    env::Rng,
    sealer::{Sealer, associated},
};

const NONCE: usize = 12;
const LAYOUT: u32 = 1;

/// Seals and opens what clients carry.
pub struct Tickets {
    /// The present key first.
    ciphers: Vec<Aes256Gcm>,
}

impl core::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Tickets([REDACTED])")
    }
}

impl Tickets {
    /// With keys derived from the master keys.
    pub fn new(sealer: &Sealer) -> Self {
        let keys = sealer.derive_all("tickets");
        Self { ciphers: keys.iter().map(|key| Aes256Gcm::new(&(*key).into())).collect() }
    }

    /// Seals. `bound` is what the text belongs to: it opens with the same only. The text is URL-safe base64.
    pub fn seal(&self, purpose: &str, bound: &[&str], plain: &[u8], rng: &dyn Rng) -> String {
        let mut nonce = [0; NONCE];
        rng.fill(&mut nonce);
        let aad = associated(purpose, bound, LAYOUT);
        let cipher = self.ciphers.first().expect("there is a present key");
        let sealed = cipher
            .encrypt(&nonce.into(), Payload { msg: plain, aad: &aad })
            .expect("the text is not longer than the cipher allows");
        URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
    }

    /// Opens, or finds that the text is not one of ours or belongs elsewhere.
    pub fn open(&self, purpose: &str, bound: &[&str], text: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>()?;
        let aad = associated(purpose, bound, LAYOUT);
        let payload = || Payload { msg: sealed, aad: &aad };
        self.ciphers.iter().find_map(|cipher| cipher.decrypt(&(*nonce).into(), payload()).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealer::MasterKey;

    struct Counting(std::sync::atomic::AtomicU8);

    impl Rng for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for byte in bytes {
                *byte = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    fn key(seed: u8) -> MasterKey {
        let rng = Counting(std::sync::atomic::AtomicU8::new(seed));
        MasterKey::generate(&rng)
    }

    #[test]
    fn rsv_12_what_clients_carry_opens_unchanged_and_where_it_belongs() {
        let rng = Counting(std::sync::atomic::AtomicU8::new(0));
        let tickets = Tickets::new(&Sealer::new(key(1)));
        let text = tickets.seal("session", &["org", "key"], b"plain", &rng);
        assert_eq!(tickets.open("session", &["org", "key"], &text).as_deref(), Some(&b"plain"[..]));
        assert_eq!(tickets.open("session", &["org", "other"], &text), None);
        assert_eq!(tickets.open("session", &["orgkey"], &text), None);
        assert_eq!(tickets.open("state", &["org", "key"], &text), None);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(tickets.open("session", &["org", "key"], &changed), None, "{at}");
        }
        // A master key that was replaced still opens, one that is gone does not.
        let after = Tickets::new(&Sealer::with_previous(key(2), vec![key(1)]));
        assert!(after.open("session", &["org", "key"], &text).is_some());
        assert!(Tickets::new(&Sealer::new(key(2))).open("session", &["org", "key"], &text).is_none());
    }
}
