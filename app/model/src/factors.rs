//! Second factors and PINs, as pages see them.

use serde::{Deserialize, Serialize};

use crate::PasskeyId;

/// The digits of a code of an authenticator app.
pub const CODE_DIGITS: usize = 6;
/// How many backup codes there are.
pub const BACKUP_CODES: i64 = 10;

/// The second factor of the signed-in person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TwoFactor {
    /// Since when there is an authenticator app, Unix milliseconds.
    pub since: Option<i64>,
    /// When a code of it was used last, Unix milliseconds.
    pub last_used_at: Option<i64>,
    /// How many backup codes are left.
    pub codes_left: i64,
    /// Whether one is being set up.
    pub enrolling: bool,
    /// The names of the person's organisations that require it.
    pub required_by: Vec<String>,
    /// How many passkeys there are: each is a second factor as well.
    pub passkeys: i64,
    /// Whether this instance can have passkeys.
    pub offer: PasskeyOffer,
    /// Whether the person has shown who they are in the last minutes.
    pub fresh: bool,
    /// Whether the account has no password, because it logs in by SSO.
    #[serde(default)]
    pub no_password: bool,
    /// The server's time, Unix milliseconds.
    pub now: i64,
}

/// An authenticator app that is being set up: shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The secret in base32, in groups of four.
    pub secret: String,
    /// What apps read: `otpauth://totp/…`.
    pub uri: String,
    /// How many modules wide and high the QR code is.
    pub qr_size: u32,
    /// Its dark modules as an SVG path.
    pub qr_path: String,
}

impl core::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Enrolment([REDACTED])")
    }
}

/// Whether passkeys can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PasskeyOffer {
    /// They can.
    Offered,
    /// People reach the instance by an IP address, and a passkey belongs to a host name.
    NeedsHostName,
    /// This build has none.
    NotBuilt,
}

impl PasskeyOffer {
    /// Whether they can be used.
    pub const fn is_offered(self) -> bool {
        matches!(self, Self::Offered)
    }
}

/// What a passkey is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasskeyPurpose {
    /// To log in, without an address.
    SignIn,
    /// To take the second step after the password.
    SecondStep,
    /// To show again who is there.
    Confirm,
    /// To be added.
    Register,
}

impl PasskeyPurpose {
    /// The word in pages and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::SecondStep => "second-step",
            Self::Confirm => "confirm",
            Self::Register => "register",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::SignIn, Self::SecondStep, Self::Confirm, Self::Register]
            .into_iter()
            .find(|purpose| purpose.as_str() == word)
    }
}

/// What somebody can show as their second factor, beside a backup code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondStep {
    /// A code of an authenticator app.
    pub app: bool,
    /// A passkey.
    pub passkey: bool,
    /// Whether there is no password beside it, because the account logs in by SSO.
    #[serde(default)]
    pub no_password: bool,
}

impl SecondStep {
    /// Whether there is a second factor.
    pub const fn any(self) -> bool {
        self.app || self.passkey
    }
}

/// A passkey in the list of its person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passkey {
    /// Its id in the list; not the credential's.
    pub id: PasskeyId,
    /// What the person calls it.
    pub name: String,
    /// When it was added, Unix milliseconds.
    pub created_at: i64,
    /// When it was used last, Unix milliseconds.
    pub last_used_at: Option<i64>,
}

/// The passkeys of the signed-in person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passkeys {
    /// The oldest first.
    pub list: Vec<Passkey>,
    /// Whether there is an authenticator app as well.
    pub app: bool,
    /// How many backup codes are left.
    pub codes_left: i64,
    /// The names of the person's organisations that require a second factor.
    pub required_by: Vec<String>,
    /// Whether this instance can have passkeys.
    pub offer: PasskeyOffer,
    /// The host that they belong to.
    pub host: String,
    /// Whether the person has shown who they are in the last minutes.
    pub fresh: bool,
    /// Whether the account has no password, because it logs in by SSO.
    #[serde(default)]
    pub no_password: bool,
    /// The server's time, Unix milliseconds.
    pub now: i64,
}

/// The PIN of the signed-in person in the organisation in view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinStatus {
    /// The organisation's name.
    pub org: String,
    /// Whether it asks for PINs.
    pub protects: bool,
    /// Since when there is one, Unix milliseconds.
    pub set_at: Option<i64>,
    /// The person's second factor.
    pub second_factor: SecondStep,
    /// Whether the person has shown who they are in the last minutes.
    pub fresh: bool,
    /// The server's time, Unix milliseconds.
    pub now: i64,
}

/// What an organisation asks of its members, and how they stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is told of by itself")]
pub struct OrgSecurity {
    /// Whether it requires a second factor.
    pub require_mfa: bool,
    /// Whether members may trust a browser although it does.
    pub trusted_browsers: bool,
    /// Whether it asks for PINs.
    pub pin_protection: bool,
    /// How many members it has.
    pub members: i64,
    /// Those without a second factor: name and address.
    pub lacking: Vec<String>,
    /// That of whoever looks.
    pub own_factor: SecondStep,
    /// Whether whoever looks has shown who they are in the last minutes.
    pub fresh: bool,
}
