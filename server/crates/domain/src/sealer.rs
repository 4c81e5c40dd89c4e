//! Secrets at rest: envelope encryption with a master key, and one data key for each organisation (KEY-01, KEY-02).
//!
//! The master key wraps data keys; data keys seal values. Both use AES-256-GCM with random 96-bit nonces, which is safe for
//! 2³² values per key. What a sealed value belongs to (organisation, table, column, row, key version) is authenticated with
//! it, so a value that is copied to another row or organisation does not open.
//!
//! This module knows no database: callers store what it returns.

use core::fmt;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use hmac::{Hmac, Mac};
use model::OrgId;
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::env::Rng;

/// Bytes of every key.
const KEY: usize = 32;
/// Bytes of a nonce.
const NONCE: usize = 12;
/// Bytes that say which master key wrapped a data key.
const KEY_ID: usize = 4;
/// The first byte of everything sealed: the layout of the rest.
const LAYOUT: u8 = 1;

/// Why a text is not accepted as a master key (KEY-05). The caller puts the name of the setting before it; the value is
/// never part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMasterKey {
    /// Neither base64 nor hexadecimal.
    #[error("the master key is neither base64 nor hexadecimal; make one with `openssl rand -base64 32`")]
    Encoding,
    /// Not 256 bits.
    #[error("the master key has {0} bits instead of 256; make one with `openssl rand -base64 32`")]
    Length(usize),
    /// A sample value, or words instead of random bytes.
    #[error(
        "the master key is a sample value or a text, not random bytes; make one with `openssl rand -base64 32`"
    )]
    Sample,
}

/// The operator's key, 256 bits. It is wiped when dropped and never printed (KEY-06).
pub struct MasterKey(SecretBox<[u8; KEY]>);

impl MasterKey {
    /// Reads 32 bytes as base64 (either alphabet, padded or not) or 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, InvalidMasterKey> {
        let text = text.trim();
        let lower = text.to_ascii_lowercase();
        if ["changeme", "change-me", "change_me", "example", "replace"]
            .iter()
            .any(|word| lower.contains(word))
        {
            return Err(InvalidMasterKey::Sample);
        }
        let bytes = Zeroizing::new(decode(text).ok_or(InvalidMasterKey::Encoding)?);
        let mut key = Zeroizing::new([0; KEY]);
        if bytes.len() != KEY {
            return Err(InvalidMasterKey::Length(bytes.len() * 8));
        }
        key.copy_from_slice(&bytes);
        if !looks_random(&key) {
            return Err(InvalidMasterKey::Sample);
        }
        Ok(Self(SecretBox::new(Box::new(*key))))
    }

    /// A new key.
    pub fn generate(rng: &dyn Rng) -> Self {
        Self(SecretBox::init_with_mut(|key: &mut [u8; KEY]| rng.fill(key)))
    }

    /// The key as base64, as [`MasterKey::parse`] reads it: for the file that the first start makes.
    fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0.expose_secret()))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey([REDACTED])")
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    if text.len() == 2 * KEY
        && let Ok(bytes) = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes())
    {
        return Some(bytes);
    }
    [alphabet::STANDARD, alphabet::URL_SAFE]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, LENIENT).decode(text).ok())
}

/// Whether bytes can have come from a random generator: not text, no run, not the same few bytes over and over. One random
/// key in more than 10¹³ is refused wrongly.
fn looks_random(key: &[u8; KEY]) -> bool {
    let mut distinct = *key;
    distinct.sort_unstable();
    let distinct_count = distinct.chunk_by(|a, b| a == b).count();
    distinct.zeroize();
    let text = key.iter().all(|byte| (0x20..0x7F).contains(byte));
    let step = key[1].wrapping_sub(key[0]);
    let run = key.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step);
    distinct_count >= 16 && !text && !run
}

/// Why a key file cannot be used; ends the start (KEY-05).
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or made.
    #[error("the master key file {path} cannot be used: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others may read it.
    #[error("the master key file {0} can be read by every user of this machine; run `chmod 600 {0}`")]
    Readable(PathBuf),
    /// It does not hold a master key.
    #[error("the master key file {path} cannot be used: {source}")]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with its content.
        source: InvalidMasterKey,
    },
}

/// Reads the master key from a file, which every user of the machine must not be able to read.
pub fn load_key_file(path: &Path) -> Result<MasterKey, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // A group may read it: that is how secrets are mounted for a service's user.
        if fs::metadata(path).map_err(failed)?.permissions().mode() & 0o007 != 0 {
            return Err(KeyFileError::Readable(path.to_owned()));
        }
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    MasterKey::parse(&text).map_err(|source| KeyFileError::Key { path: path.to_owned(), source })
}

/// Reads the master key from a file, or makes both (mode 0600) if there is none. The flag tells whether it was made.
///
/// Meant for a database that is new too: a file that was made beside an old database does not open it, as
/// [`Sealer::check`] finds out.
pub fn load_or_create_key_file(path: &Path, rng: &dyn Rng) -> Result<(MasterKey, bool), KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return load_key_file(path).map(|key| (key, false));
        }
        Err(error) => return Err(failed(error)),
    };
    let key = MasterKey::generate(rng);
    let written = io::Write::write_all(&mut file, key.to_text().as_bytes())
        .and_then(|()| io::Write::write_all(&mut file, b"\n"))
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_parent(path));
    if let Err(error) = written {
        // Half a key would only stop the next start.
        let _ = fs::remove_file(path);
        return Err(failed(error));
    }
    Ok((key, true))
}

/// Makes a new file's name durable: a key that is gone after a power cut takes the database's secrets with it.
fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if cfg!(unix) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            fs::File::open(parent)?.sync_all()
        }
        _ => Ok(()),
    }
}

/// Why something sealed does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// It is not in a known layout.
    #[error("a sealed value is damaged or was written by a newer version")]
    Layout,
    /// Another key sealed it: the version of a data key, or the id of a master key.
    #[error("a sealed value belongs to key {0}")]
    OtherKey(u32),
    /// It was changed, moved from elsewhere, or sealed by another key (KEY-01).
    #[error("a sealed value does not open here")]
    Refused,
}

/// Where a sealed value lives. It opens there only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aad<'a> {
    /// The organisation.
    pub org: OrgId,
    /// The table.
    pub table: &'a str,
    /// The column.
    pub column: &'a str,
    /// The row's id.
    pub row: &'a str,
}

impl Aad<'_> {
    fn bytes(&self, version: u32) -> Vec<u8> {
        associated("value", &[&self.org.to_string(), self.table, self.column, self.row], version)
    }
}

/// Associated data without ambiguity: every part with its length before it.
pub(crate) fn associated(purpose: &str, parts: &[&str], version: u32) -> Vec<u8> {
    let mut bytes = b"gatehouse/1".to_vec();
    for part in core::iter::once(&purpose).chain(parts) {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes
}

/// The master key at work: wraps data keys, seals the instance's own secrets, derives keys for other purposes.
pub struct Sealer {
    current: Master,
    /// Keys that were replaced, until everything is wrapped anew (KEY-04).
    previous: Vec<Master>,
}

/// A master key split by purpose, so that no key does two jobs.
struct Master {
    root: MasterKey,
    wrap: Aes256Gcm,
    instance: Aes256Gcm,
    id: [u8; KEY_ID],
}

impl Master {
    fn new(root: MasterKey) -> Self {
        let cipher = |label| Aes256Gcm::new(&(*subkey(&root, label)).into());
        let (wrap, instance) = (cipher("wrap"), cipher("instance"));
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&subkey(&root, "id")[..KEY_ID]);
        Self { root, wrap, instance, id }
    }
}

/// HMAC-SHA-256 of a label under the master key.
fn subkey(root: &MasterKey, label: &str) -> Zeroizing<[u8; KEY]> {
    // An HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(root.0.expose_secret()).expect("any key length is good");
    mac.update(b"gatehouse/1/");
    mac.update(label.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().into())
}

impl Sealer {
    /// A sealer with one master key.
    pub fn new(master: MasterKey) -> Self {
        Self::with_previous(master, Vec::new())
    }

    /// A sealer that also opens what earlier master keys have wrapped, while it is being wrapped anew.
    pub fn with_previous(master: MasterKey, previous: Vec<MasterKey>) -> Self {
        Self { current: Master::new(master), previous: previous.into_iter().map(Master::new).collect() }
    }

    /// A value that tells this master key from another without telling the key. Stored in the database when it is made.
    pub fn check_value(&self) -> [u8; KEY] {
        *subkey(&self.current.root, "check")
    }

    /// Whether a stored [`Sealer::check_value`] is of this master key. If not, the database was sealed by another one, and
    /// the start must end (KEY-05).
    pub fn check(&self, stored: &[u8]) -> bool {
        bool::from(self.check_value()[..].ct_eq(stored))
    }

    /// A key for another purpose, always the same for the same label. It changes with the master key, so what must outlive
    /// a rotation is better sealed than derived.
    pub fn derive(&self, label: &str) -> [u8; KEY] {
        *subkey(&self.current.root, &format!("derive/{label}"))
    }

    /// The same under the present master key and under those that it replaced: for what was derived before.
    pub fn derive_all(&self, label: &str) -> Vec<[u8; KEY]> {
        let label = format!("derive/{label}");
        [&self.current]
            .into_iter()
            .chain(&self.previous)
            .map(|master| *subkey(&master.root, &label))
            .collect()
    }

    /// The first data key of an organisation: random, and wrapped for the database. Its version is 1.
    pub fn new_data_key(&self, org: OrgId, rng: &dyn Rng) -> Vec<u8> {
        self.next_data_key(org, 1, rng)
    }

    /// A data key that takes the place of an earlier one (KEY-04). `version` counts the organisation's keys.
    pub fn next_data_key(&self, org: OrgId, version: u32, rng: &dyn Rng) -> Vec<u8> {
        let mut key = Zeroizing::new([0; KEY]);
        rng.fill(key.as_mut());
        self.wrap(org, version, &key, rng)
    }

    /// Unwraps a data key for its organisation. [`SealError::OtherKey`] has the id of an unknown master key.
    pub fn open_data_key(&self, org: OrgId, wrapped: &[u8]) -> Result<DataKey, SealError> {
        let (id, rest) = split::<KEY_ID>(wrapped.strip_prefix(&[LAYOUT]).ok_or(SealError::Layout)?)?;
        let (version, rest) = split::<4>(rest)?;
        let version = u32::from_be_bytes(version);
        let master = self.master(id)?;
        let key = open(&master.wrap, &associated("data-key", &[&org.to_string()], version), rest)?;
        let key: [u8; KEY] = key.as_slice().try_into().map_err(|_| SealError::Layout)?;
        let key = Zeroizing::new(key);
        Ok(DataKey { version, cipher: Aes256Gcm::new(&(*key).into()), key })
    }

    /// Whether a wrapped data key or an instance secret was made with an earlier master key (KEY-04).
    pub fn is_outdated(&self, sealed: &[u8]) -> bool {
        sealed.get(1..=KEY_ID) != Some(&self.current.id[..])
    }

    /// Wraps a data key anew with the current master key (KEY-04).
    pub fn rewrap(&self, org: OrgId, wrapped: &[u8], rng: &dyn Rng) -> Result<Vec<u8>, SealError> {
        let key = self.open_data_key(org, wrapped)?;
        Ok(self.wrap(org, key.version, &key.key, rng))
    }

    /// Seals a secret of the instance itself, which no organisation owns. `name` says which: it opens under it only.
    pub fn seal_instance(&self, name: &str, plaintext: &[u8], rng: &dyn Rng) -> Vec<u8> {
        let mut sealed = vec![LAYOUT];
        sealed.extend_from_slice(&self.current.id);
        seal(&self.current.instance, &associated("instance", &[name], 0), plaintext, rng, &mut sealed);
        sealed
    }

    /// Opens a secret of the instance. [`SealError::OtherKey`] has the id of an unknown master key.
    pub fn open_instance(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (id, rest) = split::<KEY_ID>(sealed.strip_prefix(&[LAYOUT]).ok_or(SealError::Layout)?)?;
        open(&self.master(id)?.instance, &associated("instance", &[name], 0), rest)
    }

    fn wrap(&self, org: OrgId, version: u32, key: &[u8; KEY], rng: &dyn Rng) -> Vec<u8> {
        let mut wrapped = vec![LAYOUT];
        wrapped.extend_from_slice(&self.current.id);
        wrapped.extend_from_slice(&version.to_be_bytes());
        seal(
            &self.current.wrap,
            &associated("data-key", &[&org.to_string()], version),
            key,
            rng,
            &mut wrapped,
        );
        wrapped
    }

    fn master(&self, id: [u8; KEY_ID]) -> Result<&Master, SealError> {
        core::iter::once(&self.current)
            .chain(&self.previous)
            .find(|master| master.id == id)
            .ok_or(SealError::OtherKey(u32::from_be_bytes(id)))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer([REDACTED])")
    }
}

/// An organisation's data key, opened.
pub struct DataKey {
    version: u32,
    cipher: Aes256Gcm,
    key: Zeroizing<[u8; KEY]>,
}

impl DataKey {
    /// Which of the organisation's keys it is.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Seals a value for its place: layout, key version, nonce, ciphertext with tag.
    pub fn seal(&self, aad: &Aad<'_>, plaintext: &[u8], rng: &dyn Rng) -> Vec<u8> {
        let mut sealed = vec![LAYOUT];
        sealed.extend_from_slice(&self.version.to_be_bytes());
        seal(&self.cipher, &aad.bytes(self.version), plaintext, rng, &mut sealed);
        sealed
    }

    /// Opens a value at its place. [`SealError::OtherKey`] has the version of the key that is needed instead.
    pub fn open(&self, aad: &Aad<'_>, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (version, rest) = split::<4>(sealed.strip_prefix(&[LAYOUT]).ok_or(SealError::Layout)?)?;
        let version = u32::from_be_bytes(version);
        if version != self.version {
            return Err(SealError::OtherKey(version));
        }
        open(&self.cipher, &aad.bytes(version), rest)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DataKey({}, [REDACTED])", self.version)
    }
}

/// Appends a nonce and the ciphertext.
fn seal(cipher: &Aes256Gcm, aad: &[u8], plaintext: &[u8], rng: &dyn Rng, out: &mut Vec<u8>) {
    let mut nonce = [0; NONCE];
    rng.fill(&mut nonce);
    // Fails for more than 64 GiB only.
    let sealed =
        cipher.encrypt(&nonce.into(), Payload { msg: plaintext, aad }).expect("a secret fits in memory");
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&sealed);
}

/// Opens a nonce and a ciphertext.
fn open(cipher: &Aes256Gcm, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, msg) = split::<NONCE>(sealed)?;
    cipher.decrypt(&nonce.into(), Payload { msg, aad }).map(Zeroizing::new).map_err(|_| SealError::Refused)
}

fn split<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), SealError> {
    bytes.split_first_chunk::<N>().map(|(first, rest)| (*first, rest)).ok_or(SealError::Layout)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Different bytes at every call, the same in every run.
    #[derive(Default)]
    struct Counting(AtomicU64);

    impl Rng for Counting {
        fn fill(&self, bytes: &mut [u8]) {
            for chunk in bytes.chunks_mut(32) {
                let count = self.0.fetch_add(1, Ordering::Relaxed);
                let block: [u8; 32] = <Sha256 as sha2::Digest>::digest(count.to_be_bytes()).into();
                chunk.copy_from_slice(&block[..chunk.len()]);
            }
        }
    }

    const KEY_A: &str = "9f3c1d0a77e8b25546c1aa0be4d2913f60587c2de1b94af3087d6655c4e1fa02";
    const KEY_B: &str = "x0tPqCkTn3sV5mJmRrZcF2n1wKZ1o9vY7b0aLhUe4dg=";

    fn sealer(key: &str) -> Sealer {
        Sealer::new(MasterKey::parse(key).unwrap())
    }

    const A: OrgId = OrgId::from_uuid(uuid::Uuid::from_u128(1));
    const B: OrgId = OrgId::from_uuid(uuid::Uuid::from_u128(2));
    const PLACE: Aad<'static> = Aad { org: A, table: "connectors", column: "headers", row: "mcp_1" };

    #[test]
    fn key_01_a_value_opens_at_its_place_only() {
        let (rng, master) = (Counting::default(), sealer(KEY_A));
        let key = master.open_data_key(A, &master.new_data_key(A, &rng)).unwrap();
        let sealed = key.seal(&PLACE, b"token", &rng);
        assert_eq!(key.open(&PLACE, &sealed).unwrap().as_slice(), b"token");
        for elsewhere in [
            Aad { org: B, ..PLACE },
            Aad { table: "webhooks", ..PLACE },
            Aad { column: "secret", ..PLACE },
            Aad { row: "mcp_2", ..PLACE },
            // The same letters, cut elsewhere.
            Aad { table: "connectorsh", column: "eaders", ..PLACE },
        ] {
            assert_eq!(key.open(&elsewhere, &sealed), Err(SealError::Refused), "{elsewhere:?}");
        }
        assert_ne!(key.seal(&PLACE, b"token", &rng), sealed, "nonces differ");
    }

    #[test]
    fn key_01_every_changed_byte_is_noticed() {
        let (rng, master) = (Counting::default(), sealer(KEY_A));
        let wrapped = master.new_data_key(A, &rng);
        let key = master.open_data_key(A, &wrapped).unwrap();
        let sealed = key.seal(&PLACE, b"token", &rng);
        for (i, _) in sealed.iter().enumerate() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(key.open(&PLACE, &changed).is_err(), "{i}");
            assert!(key.open(&PLACE, &sealed[..i]).is_err(), "{i}");
        }
        for (i, _) in wrapped.iter().enumerate() {
            let mut changed = wrapped.clone();
            changed[i] ^= 1;
            assert!(master.open_data_key(A, &changed).is_err(), "{i}");
            assert!(master.open_data_key(A, &wrapped[..i]).is_err(), "{i}");
        }
    }

    #[test]
    fn key_01_data_keys_belong_to_an_organisation() {
        let (rng, master) = (Counting::default(), sealer(KEY_A));
        let (a1, a2) = (master.new_data_key(A, &rng), master.next_data_key(A, 2, &rng));
        assert_eq!(master.open_data_key(B, &a1).unwrap_err(), SealError::Refused);
        let (a1, a2) = (master.open_data_key(A, &a1).unwrap(), master.open_data_key(A, &a2).unwrap());
        assert_eq!((a1.version(), a2.version()), (1, 2));
        let sealed = a1.seal(&PLACE, b"token", &rng);
        assert_eq!(a2.open(&PLACE, &sealed), Err(SealError::OtherKey(1)));
        let other = master.open_data_key(A, &master.new_data_key(A, &rng)).unwrap();
        assert_eq!(other.open(&PLACE, &sealed), Err(SealError::Refused));
    }

    #[test]
    fn key_02_instance_secrets_open_under_their_name() {
        let (rng, master) = (Counting::default(), sealer(KEY_A));
        let sealed = master.seal_instance("smtp", b"password", &rng);
        assert_eq!(master.open_instance("smtp", &sealed).unwrap().as_slice(), b"password");
        assert_eq!(master.open_instance("signing", &sealed), Err(SealError::Refused));
        assert!(matches!(sealer(KEY_B).open_instance("smtp", &sealed), Err(SealError::OtherKey(_))));
    }

    #[test]
    fn key_04_another_master_key_takes_over() {
        let rng = Counting::default();
        let old = sealer(KEY_A);
        let wrapped = old.next_data_key(A, 3, &rng);
        let sealed = old.open_data_key(A, &wrapped).unwrap().seal(&PLACE, b"token", &rng);
        let both =
            Sealer::with_previous(MasterKey::parse(KEY_B).unwrap(), vec![MasterKey::parse(KEY_A).unwrap()]);
        assert!(both.is_outdated(&wrapped) && !old.is_outdated(&wrapped));
        let rewrapped = both.rewrap(A, &wrapped, &rng).unwrap();
        assert!(!both.is_outdated(&rewrapped));
        let new = sealer(KEY_B);
        assert!(matches!(new.open_data_key(A, &wrapped), Err(SealError::OtherKey(_))));
        let key = new.open_data_key(A, &rewrapped).unwrap();
        assert_eq!(key.version(), 3);
        assert_eq!(key.open(&PLACE, &sealed).unwrap().as_slice(), b"token");
    }

    #[test]
    fn key_05_a_database_of_another_key_is_noticed() {
        let (a, b) = (sealer(KEY_A), sealer(KEY_B));
        assert!(a.check(&a.check_value()));
        assert!(!b.check(&a.check_value()) && !a.check(&[]) && !a.check(&[0; 32]));
        assert_eq!(a.derive("cookies"), sealer(KEY_A).derive("cookies"));
        assert_ne!(a.derive("cookies"), a.derive("tokens"));
        assert_ne!(a.derive("cookies"), b.derive("cookies"));
        assert_ne!(a.derive("check"), a.check_value());
    }

    #[test]
    fn key_05_weak_and_sample_keys_are_refused() {
        use InvalidMasterKey::{Encoding, Length, Sample};
        for (text, error) in [
            ("", Length(0)),
            ("changeme", Sample),
            ("CHANGEME-CHANGEME-CHANGEME-CHANGEME-CHANGEM", Sample),
            ("correct horse battery staple", Encoding),
            ("c2hvcnQ=", Length(40)),
            ("9f3c1d0a77e8b25546c1aa0be4d2913f", Length(192)),
            ("0000000000000000000000000000000000000000000000000000000000000000", Sample),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", Sample),
            ("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", Sample),
            ("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", Sample),
            ("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", Sample),
            ("deadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeef", Sample),
            // "a very long and secret password!"
            ("YSB2ZXJ5IGxvbmcgYW5kIHNlY3JldCBwYXNzd29yZCE=", Sample),
        ] {
            assert_eq!(MasterKey::parse(text).unwrap_err(), error, "{text}");
        }
        let unpadded = KEY_B.trim_end_matches('=');
        let url_safe = "-_8Xq0uY2c5Jt1mEoWv7Zr3bNd9sKgHfPa6TxLi4Dq0";
        for text in [KEY_A, &KEY_A.to_uppercase(), KEY_B, unpadded, url_safe, &format!(" {KEY_B}\n")] {
            assert!(MasterKey::parse(text).is_ok(), "{text}");
        }
        let sealed = sealer(KEY_B).seal_instance("x", b"y", &Counting::default());
        assert!(sealer(unpadded).open_instance("x", &sealed).is_ok());
    }

    #[test]
    fn key_05_the_key_file_is_made_once_and_must_be_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data/master.key");
        let rng = Counting::default();
        let (first, made) = load_or_create_key_file(&path, &rng).unwrap();
        assert!(made);
        let (again, made) = load_or_create_key_file(&path, &rng).unwrap();
        assert!(!made);
        assert_eq!(Sealer::new(first).check_value(), Sealer::new(again).check_value());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let chmod = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            chmod(0o644);
            let error = load_or_create_key_file(&path, &rng).unwrap_err();
            assert!(matches!(error, KeyFileError::Readable(_)), "{error}");
            chmod(0o440);
            assert!(load_key_file(&path).is_ok());
            chmod(0o600);
        }
        fs::write(&path, "half a ke").unwrap();
        let error = load_key_file(&path).unwrap_err().to_string();
        assert!(error.contains("master.key") && !error.contains("half a ke"), "{error}");
        assert!(matches!(load_key_file(&dir.path().join("none")), Err(KeyFileError::Io { .. })));
    }

    #[test]
    fn key_06_debug_shows_no_key() {
        let sealer = sealer(KEY_A);
        let key = sealer.open_data_key(A, &sealer.new_data_key(A, &Counting::default())).unwrap();
        let text = format!("{:?} {sealer:?} {key:?}", MasterKey::parse(KEY_A).unwrap());
        assert_eq!(text, "MasterKey([REDACTED]) Sealer([REDACTED]) DataKey(1, [REDACTED])");
    }
}
