//! Prefixed, sortable ids: a `UUIDv7` inside, `org_01h…` outside (26 characters of Crockford's base32, lower case).
//!
//! The prefix is checked when an id is parsed, so an id of one kind can never be taken for one of another. Making a new
//! id needs a clock and randomness and is therefore the business of `domain::Env`.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const ENCODED_LEN: usize = 26;

/// Why a text is not an id of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidId;

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an id of this kind")
    }
}

impl core::error::Error for InvalidId {}

fn encode(uuid: Uuid) -> [u8; ENCODED_LEN] {
    let mut rest = uuid.as_u128();
    let mut out = [b'0'; ENCODED_LEN];
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    out
}

fn decode(text: &str) -> Option<Uuid> {
    // 26 × 5 bits are 130: the first character may only carry three.
    if text.len() != ENCODED_LEN || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes()
        .try_fold(0u128, |value, byte| {
            let digit = ALPHABET.iter().position(|&c| c == byte)?;
            Some((value << 5) | digit as u128)
        })
        .map(Uuid::from_u128)
}

macro_rules! define_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What stands before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps a UUID that was made with the injected clock and randomness.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let encoded = encode(self.0);
                f.write_str(concat!($prefix, "_"))?;
                f.write_str(core::str::from_utf8(&encoded).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let rest = text.strip_prefix(concat!($prefix, "_")).ok_or(InvalidId)?;
                decode(rest).map(Self).ok_or(InvalidId)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

define_id!(
    /// A person with an account on this instance.
    UserId, "usr");
define_id!(
    /// An organisation: the tenant.
    OrgId, "org");
define_id!(
    /// The public name of a session in lists. It is not the cookie's value (SES-05).
    SessionId, "ses");
define_id!(
    /// A passkey of a person.
    PasskeyId, "pky");
define_id!(
    /// A browser that a person trusts to skip the second step.
    TrustedBrowserId, "brw");
define_id!(
    /// One request in the request log. Ids are in the order in which requests ended.
    LogEntryId, "log");
define_id!(
    /// A connector: one upstream MCP server of an organisation.
    ConnectorId, "mcp");
define_id!(
    /// An API key. Public; the secret is never derivable from it.
    ApiKeyId, "key");
define_id!(
    /// A connection: one person's authorisation of one OAuth client for one organisation.
    ConnectionId, "conn");
define_id!(
    /// The dedicated key of a connection. Access tokens name it and die with it.
    ConnectionKeyId, "ck");
define_id!(
    /// One completed authorization flow of a connection: the family of its refresh tokens.
    GrantId, "grant");
define_id!(
    /// One of the secrets of an OAuth client. Public; the secret is not derivable from it.
    ClientSecretId, "sec");
define_id!(
    /// An identity provider that an organisation brought for its MCP endpoint.
    IdentityProviderId, "idp");
define_id!(
    /// A role that an organisation made.
    RoleId, "role");
define_id!(
    /// A domain whose people log in at their organisation's provider.
    SsoDomainId, "sdom");
define_id!(
    /// An upstream server's permission to be called: given by a person in its authorization server, or by client credentials.
    AuthorizationId, "auth");
define_id!(
    /// One step of a client on its way to a connection.
    ConnectEventId, "step");
define_id!(
    /// An invitation to an organisation.
    InvitationId, "inv");
define_id!(
    /// A mail on its way.
    MailId, "mail");
define_id!(
    /// One line of the audit log.
    AuditEventId, "evt");
define_id!(
    /// One row of the transactional outbox; the `webhook-id` of its deliveries.
    OutboxId, "msg");
define_id!(
    /// A webhook: where an organisation wants to hear of events.
    WebhookId, "wh");
define_id!(
    /// An export of an organisation's data.
    ExportId, "exp");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_round_trip_and_keeps_its_order() {
        let low = OrgId::from_uuid(Uuid::from_u128(7));
        let high = OrgId::from_uuid(Uuid::from_u128(u128::MAX));
        assert_eq!(low.to_string().parse(), Ok(low));
        assert_eq!(high.to_string().parse(), Ok(high));
        assert!(low.to_string() < high.to_string());
        assert_eq!(high.to_string(), "org_7zzzzzzzzzzzzzzzzzzzzzzzzz");
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let user = UserId::from_uuid(Uuid::from_u128(7)).to_string();
        assert_eq!(user.parse::<OrgId>(), Err(InvalidId));
        assert_eq!("org_8zzzzzzzzzzzzzzzzzzzzzzzzz".parse::<OrgId>(), Err(InvalidId));
        assert_eq!("org_".parse::<OrgId>(), Err(InvalidId));
        assert_eq!("org_é0000000000000000000000000".parse::<OrgId>(), Err(InvalidId));
    }
}
