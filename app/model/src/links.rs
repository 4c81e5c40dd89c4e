//! One-time links as pages show them: invitations, password resets, confirmations of addresses, sign-up.

use serde::{Deserialize, Serialize};

use crate::{InvitationId, MemberRole, OrgId};

/// What whoever opened an invitation's link can do with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Guest {
    /// Nobody has an account with the address: choose a name and a password.
    New,
    /// The address has an account; whoever it is has to log in.
    LogIn,
    /// Logged in with the address: join, or decline.
    Join,
    /// Logged in with this other address.
    Other(String),
    /// A member already.
    Member,
    /// Nobody has an account with the address, and this instance makes no new ones.
    Closed,
}

/// An invitation as the invited person sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// The organisation's name.
    pub org: String,
    /// Who invited.
    pub inviter: String,
    /// As what.
    pub role: MemberRole,
    /// Whom: the address that it was sent to.
    pub email: String,
    /// Until when the link works, Unix milliseconds.
    pub expires_at: i64,
    /// What can be done.
    pub guest: Guest,
}

/// Why a link does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Dead {
    /// No such link: it was used, replaced by a newer one, or cut off on the way.
    Unknown,
    /// An invitation that is too old.
    Expired,
    /// An invitation that was taken back.
    Withdrawn,
    /// An invitation that was accepted.
    Accepted,
    /// An invitation that was declined.
    Declined,
}

/// What stands behind a one-time link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// An invitation.
    Invitation(Invited),
    /// Setting a new password for the account with this address.
    Reset(String),
    /// Proving that this address is the account's owner's.
    Verify(String),
    /// Turning an account to this new address.
    Email(String),
    /// A new account with this address.
    SignUp(String),
    /// Nothing.
    Dead(Dead),
}

/// How an invitation reaches whom it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delivery {
    /// Whoever invited passes the link on.
    ByHand,
    /// The mail waits to be sent.
    Queued,
    /// The mail has left.
    Sent,
    /// The mail could not be sent.
    Failed,
}

impl Delivery {
    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ByHand => "link",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }

    /// The one with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::ByHand, Self::Queued, Self::Sent, Self::Failed].into_iter().find(|one| one.as_str() == name)
    }
}

/// An open invitation in the team's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// Whom.
    pub email: String,
    /// As what.
    pub role: MemberRole,
    /// Who invited.
    pub inviter: String,
    /// What became of its mail.
    pub delivery: Delivery,
    /// Since when, Unix milliseconds.
    pub created_at: i64,
    /// Until when the link works, Unix milliseconds.
    pub expires_at: i64,
    /// When its guest asked for another link, Unix milliseconds.
    pub asked_at: Option<i64>,
}

/// What came of inviting one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A mail is on its way.
    Mailed,
    /// Pass this link on; it is shown once.
    Link(String),
    /// A member already.
    Member,
    /// Invited already: there is an open invitation.
    Invited,
    /// Not an address.
    NoAddress,
    /// The address was sent too many invitations lately.
    TooMany,
}

/// What came of inviting people: one line for each address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Address and outcome.
    pub lines: Vec<(String, Outcome)>,
}

/// The invitations' page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitations {
    /// The open ones, the newest first.
    pub open: Vec<Invitation>,
    /// The roles that whoever looks may give.
    pub roles: Vec<MemberRole>,
    /// Whether this instance sends mail.
    pub mails: bool,
    /// The server's time, Unix milliseconds.
    pub now: i64,
}

/// What the signed-in person may do with their own account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnAccount {
    /// The address.
    pub email: String,
    /// Whether the person proved that it is theirs.
    pub verified: bool,
    /// Whether this instance sends mail.
    pub mails: bool,
    /// Whether there is no password, because the account logs in by SSO.
    #[serde(default)]
    pub no_password: bool,
    /// Their organisations.
    pub orgs: Vec<OwnOrg>,
}

/// An organisation of the signed-in person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnOrg {
    /// Which.
    pub org: OrgId,
    /// Its name.
    pub name: String,
    /// Its slug.
    pub slug: String,
    /// The person's role.
    pub role: MemberRole,
    /// Whether no other member is an owner.
    pub last_owner: bool,
    /// Live connections of the person that lead there.
    pub connections: i64,
}

/// Whether strangers may make accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignUp {
    /// Anybody with an address.
    Open,
    /// Whoever was invited.
    #[default]
    Invitation,
    /// Nobody: the operator makes accounts.
    Closed,
}

impl SignUp {
    /// The name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Invitation => "invitation",
            Self::Closed => "closed",
        }
    }

    /// The one with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Open, Self::Invitation, Self::Closed].into_iter().find(|one| one.as_str() == name)
    }
}
