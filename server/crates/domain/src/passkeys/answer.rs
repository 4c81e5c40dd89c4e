//! What of an authenticator's answer has to be known before the challenge that it answers is found.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// Bytes of an answer that are read at most.
const LONGEST: usize = 32 * 1024;

/// The JSON of a `PublicKeyCredential`, as far as it is needed here. Nothing of it is believed.
pub(super) struct Answer {
    /// Which credential answers.
    pub(super) credential_id: Vec<u8>,
    /// The user handle that the authenticator keeps beside it.
    pub(super) user_handle: Option<Vec<u8>>,
    /// Whether a page of another site had it in a frame.
    pub(super) cross_origin: bool,
    challenge: Vec<u8>,
}

#[derive(Deserialize)]
struct Outer {
    #[serde(rename = "rawId")]
    raw_id: String,
    response: Response,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    #[serde(rename = "userHandle")]
    user_handle: Option<String>,
}

#[derive(Deserialize)]
struct ClientData {
    challenge: String,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: bool,
}

impl Answer {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).ok();
        let outer: Outer = serde_json::from_str(text).ok()?;
        let client: ClientData = serde_json::from_slice(&decode(&outer.response.client_data)?).ok()?;
        Some(Self {
            credential_id: decode(&outer.raw_id)?,
            user_handle: outer
                .response
                .user_handle
                .map(|handle| decode(&handle))
                .map_or(Some(None), |h| h.map(Some))?,
            cross_origin: client.cross_origin,
            challenge: decode(&client.challenge)?,
        })
    }

    pub(super) fn challenge_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.challenge).into()
    }
}
