//! Second factors and PINs, as pages see them.

use serde::{Deserialize, Serialize};

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
    /// Whether the person has shown who they are in the last minutes.
    pub fresh: bool,
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

/// The PIN of the signed-in person in the organisation in view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinStatus {
    /// The organisation's name.
    pub org: String,
    /// Whether it asks for PINs.
    pub protects: bool,
    /// Since when there is one, Unix milliseconds.
    pub set_at: Option<i64>,
    /// Whether the person has a second factor.
    pub second_factor: bool,
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
    /// Whether it asks for PINs.
    pub pin_protection: bool,
    /// How many members it has.
    pub members: i64,
    /// Those without a second factor: name and address.
    pub lacking: Vec<String>,
    /// Whether whoever looks has one.
    pub own_factor: bool,
    /// Whether whoever looks has shown who they are in the last minutes.
    pub fresh: bool,
}
