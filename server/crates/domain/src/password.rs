//! Passwords: their form at rest, the gate before the costly hashing, and which ones are too easy to guess.

use core::fmt;
use std::{sync::Arc, thread};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version,
    password_hash::phc::{Output, ParamsString, PasswordHash, Salt},
};
use model::AppError;
use tokio::{sync::Semaphore, task};
use zeroize::Zeroizing;
use zxcvbn::Score;

use crate::env::Rng;

/// The fewest characters of a password that is the only factor (PWD-03).
pub const MIN_LENGTH: usize = 15;
/// The fewest characters of a password beside a second factor (PWD-03).
pub const MIN_LENGTH_WITH_SECOND_FACTOR: usize = 8;
/// The most characters of a password (PWD-03).
pub const MAX_LENGTH: usize = 128;

/// Bytes of a salt.
const SALT: usize = 16;
/// Bytes of a hash.
const HASH: usize = 32;

/// What a code or a PIN costs at most: the floor of PWD-01.
const CODE_MEMORY_KIB: u32 = 19_456;
const CODE_PASSES: u32 = 2;

/// What hashing may cost. The default is for production; only tests take less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordSettings {
    /// Memory for one hash, KiB (PWD-01: at least 19456).
    pub memory_kib: u32,
    /// Passes over the memory (PWD-01: at least 2).
    pub passes: u32,
    /// How many are hashed at once (PWD-02).
    pub at_once: usize,
    /// How many may wait for that (PWD-02).
    pub queue: usize,
}

impl Default for PasswordSettings {
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
            at_once: thread::available_parallelism().map_or(1, usize::from).min(4),
            queue: 64,
        }
    }
}

impl PasswordSettings {
    /// Next to no cost, and so next to no protection: for tests that log in.
    pub fn for_tests() -> Self {
        Self { memory_kib: 8, passes: 1, ..Self::default() }
    }
}

/// Too many passwords wait to be hashed (PWD-02). Answered with 503 and `Retry-After: 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked")]
pub struct Busy;

/// What a verification found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Whether it was the password.
    pub ok: bool,
    /// Whether it was, but its hash is weaker than what is made now: hash it anew (PWD-01).
    pub needs_rehash: bool,
}

/// Hashes and verifies passwords with argon2id. One per process: it is the gate that bounds memory and time (PWD-02).
pub struct Passwords {
    params: Params,
    /// What an unknown user's password is compared with, at the same cost.
    dummy: Arc<str>,
    /// Everybody inside the gate: hashing or waiting.
    places: Arc<Semaphore>,
    /// Those who hash.
    running: Arc<Semaphore>,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("params", &self.params).finish_non_exhaustive()
    }
}

impl Passwords {
    /// A gate with these costs; values below what argon2 needs are raised.
    pub fn new(settings: PasswordSettings) -> Self {
        let at_once = settings.at_once.max(1);
        let params = Params::new(
            settings.memory_kib.max(Params::MIN_M_COST),
            settings.passes.max(Params::MIN_T_COST),
            1,
            Some(HASH),
        )
        .expect("these are within argon2's limits");
        let dummy = PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&params).expect("three numbers fit"),
            salt: Some(Salt::new(&[0; SALT]).expect("a salt has this length")),
            hash: Some(Output::new(&[0; HASH]).expect("a hash has this length")),
        };
        Self {
            params,
            dummy: dummy.to_string().into(),
            places: Arc::new(Semaphore::new(at_once + settings.queue)),
            running: Arc::new(Semaphore::new(at_once)),
        }
    }

    /// The PHC string of a password, for the database.
    pub async fn hash(&self, rng: &dyn Rng, password: &str) -> Result<String, Busy> {
        let mut salt = [0; SALT];
        rng.fill(&mut salt);
        let password = Zeroizing::new(password.to_owned());
        let argon2 = self.argon2();
        self.gated(move || {
            argon2
                .hash_password_with_salt(password.as_bytes(), &salt)
                .expect("a salt of this length and any password can be hashed")
                .to_string()
        })
        .await
    }

    /// Compares a password with a stored PHC string. `None`, for a user who does not exist, takes as long as a wrong
    /// password does (PWD-05).
    pub async fn verify(&self, hash: Option<&str>, password: &str) -> Result<Verified, Busy> {
        // An account without a password, whose person logs in elsewhere, has an empty one.
        let hash = hash.filter(|hash| !hash.is_empty());
        let known = hash.is_some();
        let hash = hash.map_or_else(|| self.dummy.clone(), Arc::from);
        let dummy = self.dummy.clone();
        let password = Zeroizing::new(password.to_owned());
        let argon2 = self.argon2();
        self.gated(move || {
            let Ok(stored) = PasswordHash::new(&hash) else {
                tracing::error!("a stored password hash cannot be read");
                let _ = argon2.verify_password(password.as_bytes(), &*dummy);
                return Verified::default();
            };
            let ok = argon2.verify_password(password.as_bytes(), &stored).is_ok() && known;
            Verified { ok, needs_rehash: ok && is_weaker(&stored, argon2.params()) }
        })
        .await
    }

    /// The PHC string of a code that we made, or of a PIN that needs a key besides: it is not for anybody to choose, so it
    /// costs the least that is allowed (MFA-04, PIN-02).
    pub async fn hash_code(&self, rng: &dyn Rng, code: &str) -> Result<String, Busy> {
        let mut salt = [0; SALT];
        rng.fill(&mut salt);
        let code = Zeroizing::new(code.to_owned());
        let argon2 = self.argon2_for_codes();
        self.gated(move || {
            argon2
                .hash_password_with_salt(code.as_bytes(), &salt)
                .expect("a salt of this length and any text can be hashed")
                .to_string()
        })
        .await
    }

    /// Compares a code with the PHC string of [`Passwords::hash_code`]. `None` takes as long as a wrong one.
    pub async fn verify_code(&self, hash: Option<&str>, code: &str) -> Result<bool, Busy> {
        let known = hash.map(ToOwned::to_owned);
        let code = Zeroizing::new(code.to_owned());
        let argon2 = self.argon2_for_codes();
        self.gated(move || {
            let stored = known.as_deref().and_then(|hash| PasswordHash::new(hash).ok());
            match stored {
                Some(stored) => argon2.verify_password(code.as_bytes(), &stored).is_ok(),
                None => argon2.hash_password_with_salt(code.as_bytes(), &[0; SALT]).is_err(),
            }
        })
        .await
    }

    /// Whether a password may be the only factor of an account: 15 to 128 characters and not easy to guess (PWD-03,
    /// PWD-04). `about` is what an attacker tries first: the person's address and name, the organisation's name.
    pub fn check(&self, field: &str, password: &str, about: &[&str]) -> Result<(), AppError> {
        check(field, password, MIN_LENGTH, Score::Four, about)
    }

    /// As [`Passwords::check`], for an account that needs a second factor as well: 8 characters will do.
    pub fn check_with_second_factor(
        &self,
        field: &str,
        password: &str,
        about: &[&str],
    ) -> Result<(), AppError> {
        check(field, password, MIN_LENGTH_WITH_SECOND_FACTOR, Score::Two, about)
    }

    fn argon2_for_codes(&self) -> Argon2<'static> {
        let params = Params::new(
            self.params.m_cost().min(CODE_MEMORY_KIB),
            self.params.t_cost().min(CODE_PASSES),
            1,
            Some(HASH),
        )
        .expect("these are within argon2's limits");
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
    }

    fn argon2(&self) -> Argon2<'static> {
        Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone())
    }

    /// Runs `work` off the async threads when it is its turn. The task holds the permit, not the caller: one who hangs up
    /// must not let the next one in while the memory is still in use (PWD-02).
    async fn gated<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| Busy)?;
        let permit = self.running.clone().acquire_owned().await.map_err(|_| Busy)?;
        let done = task::spawn_blocking(move || {
            let done = work();
            // The place first: whoever gets the permit finds it free.
            drop(place);
            drop(permit);
            done
        });
        match done.await {
            Ok(done) => Ok(done),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is going down.
            Err(_) => Err(Busy),
        }
    }
}

/// Whether a stored hash is of another kind or cheaper than what is made now.
fn is_weaker(stored: &PasswordHash, params: &Params) -> bool {
    let cost = |name| stored.params.get_decimal(name).unwrap_or(0);
    stored.algorithm != Algorithm::Argon2id.ident()
        || stored.version != Some(Version::V0x13.into())
        || cost("m") < params.m_cost()
        || cost("t") < params.t_cost()
}

fn check(field: &str, password: &str, min: usize, strength: Score, about: &[&str]) -> Result<(), AppError> {
    let length = password.chars().count();
    if length == 0 {
        return Err(AppError::field(field, "required", "Enter a password"));
    }
    if length < min {
        return Err(AppError::field(field, "too_short", format!("Use at least {min} characters")));
    }
    if length > MAX_LENGTH {
        return Err(AppError::field(field, "too_long", format!("Use at most {MAX_LENGTH} characters")));
    }
    let words = words(about);
    let inputs: Vec<_> = words.iter().map(String::as_str).collect();
    // The estimator knows 30,000 passwords, common words and names, keyboard rows, dates, sequences and repeats. Score 4 is
    // more than 10¹⁰ guesses; with a second factor 10⁶ will do: eight random characters reach 10⁸.
    if is_about(password, &words) || zxcvbn::zxcvbn(password, &inputs).score() < strength {
        return Err(AppError::field(
            field,
            "password_too_common",
            "This password is easy to guess. Use several unrelated words, or let a password manager make one",
        ));
    }
    Ok(())
}

/// The words in names and addresses, lower case, longest first; also each text's words without what is between them.
fn words(about: &[&str]) -> Vec<String> {
    let mut words = vec!["gatehouse".to_owned()];
    for text in about {
        let text = text.to_lowercase();
        let name = text.split_once('@').map_or(text.as_str(), |(local, _)| local);
        words.push(name.chars().filter(|c| c.is_alphanumeric()).collect());
        words.extend(text.split(|c: char| !c.is_alphanumeric()).map(str::to_owned));
    }
    words.retain(|word| word.chars().count() >= 3);
    words.sort_by_key(|word| core::cmp::Reverse(word.len()));
    words.dedup();
    words
}

/// Whether next to nothing but digits and punctuation is left of a password without these words.
fn is_about(password: &str, words: &[String]) -> bool {
    let mut rest: String = password.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect();
    let whole = rest.len();
    for word in words {
        rest = rest.replace(word, "");
    }
    rest.len() < whole && rest.chars().filter(|c| c.is_alphabetic()).count() < 4
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    struct Ones;

    impl Rng for Ones {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(1);
        }
    }

    fn passwords() -> Passwords {
        Passwords::new(PasswordSettings::for_tests())
    }

    #[tokio::test]
    async fn pwd_01_the_default_is_argon2id_with_64_mib() {
        let passwords = Passwords::new(PasswordSettings::default());
        let hash = passwords.hash(&Ones, "correct horse battery").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=65536,t=3,p=1$"), "{hash}");
        let good = passwords.verify(Some(&hash), "correct horse battery").await.unwrap();
        assert_eq!(good, Verified { ok: true, needs_rehash: false });
    }

    #[tokio::test]
    async fn pwd_01_a_weaker_hash_is_made_anew() {
        let weak = passwords().hash(&Ones, "correct horse battery").await.unwrap();
        let strong = Passwords::new(PasswordSettings { memory_kib: 64, ..PasswordSettings::for_tests() });
        let good = strong.verify(Some(&weak), "correct horse battery").await.unwrap();
        assert_eq!(good, Verified { ok: true, needs_rehash: true });
        let bad = strong.verify(Some(&weak), "correct horse batterY").await.unwrap();
        assert_eq!(bad, Verified { ok: false, needs_rehash: false });
        let hash = strong.hash(&Ones, "x").await.unwrap();
        assert!(!passwords().verify(Some(&hash), "x").await.unwrap().needs_rehash);
        let other = weak.replace("argon2id", "argon2i");
        assert!(!passwords().verify(Some(&other), "correct horse battery").await.unwrap().ok);
    }

    #[tokio::test]
    async fn pwd_02_the_queue_is_bounded() {
        let passwords = Arc::new(Passwords::new(PasswordSettings {
            at_once: 1,
            queue: 2,
            ..PasswordSettings::for_tests()
        }));
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let first = {
            let passwords = passwords.clone();
            tokio::spawn(async move { passwords.gated(move || wait.recv().is_ok()).await })
        };
        while passwords.running.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let passwords = passwords.clone();
                tokio::spawn(async move { passwords.hash(&Ones, "x").await })
            })
            .collect();
        while passwords.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.hash(&Ones, "x").await, Err(Busy));
        release.send(()).unwrap();
        assert_eq!(first.await.unwrap(), Ok(true));
        for hash in waiting {
            assert!(hash.await.unwrap().is_ok());
        }
        assert!(passwords.hash(&Ones, "x").await.is_ok());
    }

    #[tokio::test]
    async fn pwd_02_hanging_up_frees_no_permit() {
        let passwords =
            Passwords::new(PasswordSettings { at_once: 1, queue: 0, ..PasswordSettings::for_tests() });
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let (started, running) = tokio::sync::oneshot::channel();
        let work = passwords.gated(move || {
            let _ = started.send(());
            let _ = wait.recv();
        });
        tokio::select! {
            _ = work => panic!("it waits"),
            _ = running => {}
        }
        assert_eq!(passwords.hash(&Ones, "x").await, Err(Busy));
        drop(release);
        let _ = passwords.running.acquire().await.unwrap();
        assert!(passwords.hash(&Ones, "x").await.is_ok());
        // One who leaves while waiting gives the place back.
        let held = passwords.running.acquire().await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(5), passwords.hash(&Ones, "x")).await.is_err());
        drop(held);
        assert!(passwords.hash(&Ones, "x").await.is_ok());
    }

    #[tokio::test]
    async fn pwd_03_every_byte_counts() {
        let passwords = passwords();
        let base = "é ".repeat(40);
        let hash = passwords.hash(&Ones, &format!("{base}a")).await.unwrap();
        assert!(passwords.verify(Some(&hash), &format!("{base}a")).await.unwrap().ok);
        assert!(!passwords.verify(Some(&hash), &format!("{base}b")).await.unwrap().ok);
        assert!(!passwords.verify(Some(&hash), &base).await.unwrap().ok);
    }

    #[test]
    fn pwd_03_length() {
        let passwords = passwords();
        let code = |password: &str| passwords.check("password", password, &[]).map_err(|error| error.code);
        assert_eq!(code(""), Err("required".into()));
        assert_eq!(code("vq8#Lm2!xTz0wR"), Err("too_short".into()));
        assert_eq!(code("vq8#Lm2!xTz0wRk"), Ok(()));
        assert_eq!(code("ünïcödé wörds gö"), Ok(()));
        assert_eq!(code("四季折々の風景を眺めて暮らす毎日"), Ok(()));
        let long = "vq8#Lm2!xTz0wRk ".repeat(8);
        assert_eq!(code(&long), Ok(()));
        assert_eq!(code(&format!("{long}x")), Err("too_long".into()));
        let error = passwords.check("new_password", "short", &[]).unwrap_err();
        assert_eq!(error.at("new_password"), Some("Use at least 15 characters"));
        assert_eq!(error.status(), 422);
        assert!(passwords.check_with_second_factor("password", "vq8#Lm2!", &[]).is_ok());
        assert_eq!(
            passwords.check_with_second_factor("password", "vq8#Lm2", &[]).unwrap_err().code,
            "too_short"
        );
        assert_eq!(
            passwords.check_with_second_factor("password", "password1", &[]).unwrap_err().code,
            "password_too_common"
        );
    }

    #[test]
    fn pwd_04_easy_passwords_are_refused() {
        let passwords = passwords();
        let about = ["ada.lovelace@example.com", "Ada Lovelace", "Acme Corp."];
        for password in [
            "password1234567",
            "Password1234567!",
            "qwertyuiopasdfg",
            "aaaaaaaaaaaaaaaa",
            "abcdefghijklmnop",
            "1234567890123456",
            "acmecorp1234567",
            "Acme-Corp-20261121",
            "acme99482710385261",
            "gatehouse1234567",
            "Gatehouse!!2026!!",
            "gatehousegatehouse",
            "ada.lovelaceada.lovelace",
            "adalovelace123456",
            "lovelacelovelace1",
            "iloveyouiloveyou",
            "P@ssw0rd1234567!",
            "summer2026winter",
            "administrator123!",
        ] {
            let code = passwords.check("password", password, &about).map_err(|error| error.code);
            assert_eq!(code, Err("password_too_common".into()), "{password}");
        }
        for password in ["correct horse battery staple", "my cat Ada eats blue tulips", "839201748265019473"]
        {
            assert_eq!(passwords.check("password", password, &about), Ok(()), "{password}");
        }
    }

    #[tokio::test]
    async fn pwd_05_an_unknown_user_costs_the_same() {
        let passwords =
            Passwords::new(PasswordSettings { memory_kib: 8 * 1024, passes: 1, at_once: 1, queue: 0 });
        let hash = passwords.hash(&Ones, "correct horse battery").await.unwrap();
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..21 {
            for (times, hash) in times.iter_mut().zip([Some(hash.as_str()), None, Some("broken")]) {
                let start = Instant::now();
                assert!(!passwords.verify(hash, "wrong").await.unwrap().ok);
                times.push(start.elapsed());
            }
        }
        let [known, unknown, broken] = times.map(|mut times| {
            times.sort_unstable();
            times[times.len() / 2]
        });
        for other in [unknown, broken] {
            let (low, high) = (known.min(other), known.max(other));
            assert!(high < low * 2 || high.abs_diff(low) < Duration::from_millis(15), "{known:?} {other:?}");
        }
        // Even the password that made the dummy would not open an account.
        assert!(!passwords.verify(None, "").await.unwrap().ok);
    }
}
