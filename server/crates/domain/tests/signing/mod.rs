//! Keys and signatures of an identity provider.

use std::sync::LazyLock;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

/// Keys take a while to make, so all tests share three.
pub(crate) static KEYS: LazyLock<[KeyPair; 3]> =
    LazyLock::new(|| core::array::from_fn(|_| KeyPair::generate(KeySize::Rsa2048).expect("a key")));

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64URL_NOPAD.encode(bytes.as_ref())
}

pub(crate) fn jwk(at: usize, kid: &str) -> Value {
    let public = KEYS[at].public_key();
    let (n, e) = (public.modulus(), public.exponent());
    json!({
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
        "n": b64(n.big_endian_without_leading_zero()), "e": b64(e.big_endian_without_leading_zero()),
    })
}

pub(crate) fn sign(at: usize, message: &str) -> Vec<u8> {
    let mut signature = vec![0; KEYS[at].public_modulus_len()];
    KEYS[at]
        .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
        .expect("a signature");
    signature
}

pub(crate) fn token(at: usize, header: &Value, claims: &Value) -> String {
    raw(at, &header.to_string(), &claims.to_string())
}

pub(crate) fn raw(at: usize, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", b64(header), b64(claims));
    let signature = b64(sign(at, &message));
    format!("{message}.{signature}")
}
