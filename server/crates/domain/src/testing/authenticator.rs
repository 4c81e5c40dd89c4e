//! An authenticator in software: it answers what `navigator.credentials` would hand to one, with `none` attestation and
//! ES256 keys, and lies on demand.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::Rng;

const USER_PRESENT: u8 = 0x01;
const USER_VERIFIED: u8 = 0x04;
const HAS_CREDENTIAL: u8 = 0x40;

/// One with one credential.
#[derive(Debug)]
pub struct Authenticator {
    key: EcdsaKeyPair,
    /// What it calls its credential.
    pub id: Vec<u8>,
    /// Whom it belongs to: what the page said when it was made.
    pub handle: Vec<u8>,
    /// How often it signed; stays at 0 when it begins there.
    pub counter: u32,
    /// Whether it looks at who is there.
    pub verifies: bool,
    /// The host that it believes to be asked by.
    pub host: String,
    /// The page that it believes to be asked by.
    pub origin: String,
    /// Whether that page stands in a frame of another site.
    pub framed: bool,
}

impl Authenticator {
    /// A new one, for the instance of [`super::TestEnv`].
    pub fn new(rng: &dyn Rng) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let mut id = vec![0; 32];
        rng.fill(&mut id);
        Self {
            key,
            id,
            handle: Vec::new(),
            counter: 1,
            verifies: true,
            host: "localhost".to_owned(),
            origin: "http://localhost:3000".to_owned(),
            framed: false,
        }
    }

    fn client_data(&self, kind: &str, options: &Value) -> Vec<u8> {
        let data = json!({
            "type": kind,
            "challenge": options["challenge"],
            "origin": self.origin,
            "crossOrigin": self.framed,
        });
        data.to_string().into_bytes()
    }

    fn data(&mut self, extra: u8) -> Vec<u8> {
        let mut data = Sha256::digest(self.host.as_bytes()).to_vec();
        data.push(USER_PRESENT | extra | if self.verifies { USER_VERIFIED } else { 0 });
        data.extend(self.counter.to_be_bytes());
        if self.counter > 0 {
            self.counter += 1;
        }
        data
    }

    /// Answers `navigator.credentials.create` with these options.
    pub fn create(&mut self, options: &str) -> String {
        let options: Value = serde_json::from_str(options).expect("options");
        self.handle = decode(options["user"]["id"].as_str().expect("a user handle"));
        let client_data = self.client_data("webauthn.create", &options);
        let mut data = self.data(HAS_CREDENTIAL);
        data.extend([0; 16]);
        data.extend(u16::try_from(self.id.len()).expect("a short id").to_be_bytes());
        data.extend(&self.id);
        data.extend(cose(self.key.public_key().as_ref()));
        // CBOR: {"fmt": "none", "attStmt": {}, "authData": …}
        let mut object = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".to_vec();
        object.extend(u16::try_from(data.len()).expect("short data").to_be_bytes());
        object.extend(data);
        self.answer(json!({
            "clientDataJSON": encode(&client_data),
            "attestationObject": encode(&object),
            "transports": ["internal"],
        }))
    }

    /// Answers `navigator.credentials.get` with these options.
    pub fn get(&mut self, options: &str) -> String {
        let options: Value = serde_json::from_str(options).expect("options");
        let client_data = self.client_data("webauthn.get", &options);
        let data = self.data(0);
        let mut signed = data.clone();
        signed.extend(Sha256::digest(&client_data));
        let signature = self.key.sign(&SystemRandom::new(), &signed).expect("a signature");
        let handle = (!self.handle.is_empty()).then(|| encode(&self.handle));
        self.answer(json!({
            "clientDataJSON": encode(&client_data),
            "authenticatorData": encode(&data),
            "signature": encode(signature.as_ref()),
            "userHandle": handle,
        }))
    }

    fn answer(&self, response: Value) -> String {
        let id = encode(&self.id);
        json!({ "id": id, "rawId": id, "type": "public-key", "extensions": {}, "response": response })
            .to_string()
    }
}

/// The key as COSE (RFC 9053 §7.1.1): EC2, ES256, P-256.
fn cose(point: &[u8]) -> Vec<u8> {
    let (x, y) = point[1..].split_at(32);
    let mut key = b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20".to_vec();
    key.extend(x);
    key.extend(b"\x22\x58\x20");
    key.extend(y);
    key
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).expect("base64url")
}
