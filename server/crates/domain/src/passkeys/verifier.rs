//! What is asked of authenticators and how their answers are held against it (W3C Web Authentication, Level 3). The only
//! place that knows the library behind it; a build without the feature `passkeys` offers none.

use model::{AppError, ErrorKind, factors::PasskeyOffer};

use crate::{Error, Settings};

/// A challenge that was made.
pub(super) struct Begun {
    /// What the browser is told, JSON: the argument of `navigator.credentials`.
    pub(super) options: String,
    /// The challenge itself.
    pub(super) challenge: Vec<u8>,
    /// What the answer is held against, JSON.
    pub(super) state: String,
}

/// A new credential.
pub(super) struct Made {
    pub(super) id: Vec<u8>,
    /// JSON, for [`Verifier::finish_authentication`].
    pub(super) credential: String,
}

/// Why an answer does not count.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The authenticator counted no further: there may be two of it.
    Counter,
    /// Anything else; the words are for the log.
    Wrong(String),
}

impl Refused {
    /// The word in audit events.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Wrong(_) => "answer",
        }
    }
}

/// Whether people can have passkeys here.
pub fn offer(settings: &Settings) -> PasskeyOffer {
    if !cfg!(feature = "passkeys") {
        PasskeyOffer::NotBuilt
    } else if settings.public_url.domain().is_some() {
        PasskeyOffer::Offered
    } else {
        PasskeyOffer::NeedsHostName
    }
}

pub(super) fn unavailable(offer: PasskeyOffer) -> Error {
    let words = match offer {
        PasskeyOffer::NeedsHostName => {
            "Passkeys need a host name, and this instance is reached by an IP address. Nothing was changed; whoever operates it can set GATEHOUSE_PUBLIC_URL to a host name."
        }
        _ => "This build of Gatehouse has no passkeys. Nothing was changed; use an authenticator app.",
    };
    AppError::new(ErrorKind::Conflict, "passkeys_unavailable", words).into()
}

#[cfg(feature = "passkeys")]
pub(super) use with::Verifier;
#[cfg(not(feature = "passkeys"))]
pub(super) use without::Verifier;

#[cfg(feature = "passkeys")]
mod with {
    use std::time::Duration;

    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};
    use store::users::User;
    use webauthn_rs::prelude::{
        DiscoverableAuthentication, Passkey, PasskeyRegistration, PublicKeyCredential,
        RegisterPublicKeyCredential, Webauthn, WebauthnBuilder, WebauthnError,
    };

    use super::{Begun, Made, Refused, offer, unavailable};
    use crate::{Error, Result, Settings, passkeys::WITHIN};

    /// Asks and verifies for this instance: its host is the relying party, its origin the only one.
    pub(in crate::passkeys) struct Verifier(Webauthn);

    fn internal(what: &str, why: impl core::fmt::Display) -> Error {
        Error::Internal(format!("passkey {what}: {why}"))
    }

    fn read<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
        serde_json::from_str(text).map_err(|why| internal(what, why))
    }

    fn answer<T: DeserializeOwned>(text: &str) -> core::result::Result<T, Refused> {
        serde_json::from_str(text).map_err(|why| Refused::Wrong(why.to_string()))
    }

    fn refused(why: WebauthnError) -> Refused {
        match why {
            WebauthnError::CredentialPossibleCompromise => Refused::Counter,
            why => Refused::Wrong(why.to_string()),
        }
    }

    impl Begun {
        /// The options without the envelope, and the challenge in them.
        fn of(mut options: Value, state: String, edit: impl FnOnce(&mut Value)) -> Result<Self> {
            let mut options = options["publicKey"].take();
            let challenge = options["challenge"].as_str().unwrap_or_default();
            let challenge =
                BASE64_URL_SAFE_NO_PAD.decode(challenge).map_err(|why| internal("challenge", why))?;
            edit(&mut options);
            Ok(Self { options: options.to_string(), challenge, state })
        }
    }

    impl Verifier {
        pub(in crate::passkeys) fn of(settings: &Settings) -> Result<Self> {
            let offer = offer(settings);
            let host = settings.public_url.domain().filter(|_| offer.is_offered());
            let host = host.ok_or_else(|| unavailable(offer))?;
            WebauthnBuilder::new(host, &settings.public_url)
                .and_then(|builder| {
                    let patience = Duration::from_millis(u64::try_from(WITHIN).unwrap_or_default());
                    builder.rp_name("Gatehouse").timeout(patience).build()
                })
                .map(Self)
                .map_err(|why| internal("settings", why))
        }

        /// A challenge for a new passkey of somebody who has those of `exclude` already.
        pub(in crate::passkeys) fn begin_registration(
            &self,
            user: &User,
            exclude: &[Vec<u8>],
        ) -> Result<Begun> {
            let exclude = exclude.to_vec();
            let id = user.id.uuid();
            let (options, state) = self
                .0
                .start_passkey_registration(id, &user.email, &user.name, Some(exclude))
                .map_err(|why| internal("registration", why))?;
            let options = serde_json::to_value(options).map_err(|why| internal("options", why))?;
            let state = serde_json::to_string(&state).map_err(|why| internal("state", why))?;
            Begun::of(options, state, |options| {
                // It has to be found without an address being typed.
                options["authenticatorSelection"]["residentKey"] = json!("required");
                options["authenticatorSelection"]["requireResidentKey"] = json!(true);
            })
        }

        pub(in crate::passkeys) fn finish_registration(
            &self,
            state: &str,
            text: &str,
        ) -> Result<core::result::Result<Made, Refused>> {
            let state: PasskeyRegistration = read("state", state)?;
            let made = answer::<RegisterPublicKeyCredential>(text)
                .and_then(|answer| self.0.finish_passkey_registration(&answer, &state).map_err(refused));
            let made = match made {
                Ok(made) => made,
                Err(why) => return Ok(Err(why)),
            };
            let credential = serde_json::to_string(&made).map_err(|why| internal("credential", why))?;
            Ok(Ok(Made { id: made.cred_id().clone(), credential }))
        }

        /// A challenge for one of these credentials, or if there are none, for any that the authenticator has.
        pub(in crate::passkeys) fn begin_authentication(&self, credentials: &[String]) -> Result<Begun> {
            let mut allowed = Vec::new();
            for credential in credentials {
                let passkey: Passkey = read("credential", credential)?;
                let id = BASE64_URL_SAFE_NO_PAD.encode(passkey.cred_id());
                allowed.push(json!({ "type": "public-key", "id": id }));
            }
            let (options, state) =
                self.0.start_discoverable_authentication().map_err(|why| internal("authentication", why))?;
            let options = serde_json::to_value(options).map_err(|why| internal("options", why))?;
            let state = serde_json::to_string(&state).map_err(|why| internal("state", why))?;
            Begun::of(options, state, |options| options["allowCredentials"] = Value::Array(allowed))
        }

        /// Holds an answer against its challenge and the credential; answers with the credential as it is from now on.
        pub(in crate::passkeys) fn finish_authentication(
            &self,
            state: &str,
            text: &str,
            credential: &str,
        ) -> Result<core::result::Result<String, Refused>> {
            let state: DiscoverableAuthentication = read("state", state)?;
            let mut passkey: Passkey = read("credential", credential)?;
            let result = answer::<PublicKeyCredential>(text).and_then(|answer| {
                self.0.finish_discoverable_authentication_v2(&answer, state, &passkey).map_err(refused)
            });
            let result = match result {
                Ok(result) => result,
                Err(why) => return Ok(Err(why)),
            };
            passkey.update_credential(&result);
            let credential = serde_json::to_string(&passkey).map_err(|why| internal("credential", why))?;
            Ok(Ok(credential))
        }
    }
}

#[cfg(not(feature = "passkeys"))]
mod without {
    use store::users::User;

    use super::{Begun, Made, Refused, offer, unavailable};
    use crate::{Result, Settings};

    /// There is none: it cannot be made.
    pub(in crate::passkeys) enum Verifier {}

    impl Verifier {
        pub(in crate::passkeys) fn of(settings: &Settings) -> Result<Self> {
            Err(unavailable(offer(settings)))
        }

        pub(in crate::passkeys) fn begin_registration(&self, _: &User, _: &[Vec<u8>]) -> Result<Begun> {
            match *self {}
        }

        pub(in crate::passkeys) fn finish_registration(
            &self,
            _: &str,
            _: &str,
        ) -> Result<core::result::Result<Made, Refused>> {
            match *self {}
        }

        pub(in crate::passkeys) fn begin_authentication(&self, _: &[String]) -> Result<Begun> {
            match *self {}
        }

        pub(in crate::passkeys) fn finish_authentication(
            &self,
            _: &str,
            _: &str,
            _: &str,
        ) -> Result<core::result::Result<String, Refused>> {
            match *self {}
        }
    }
}
