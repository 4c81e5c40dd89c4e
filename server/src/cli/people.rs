//! The steps about people: accounts, sessions, members, invitations.

use clap::Subcommand;

use super::Output;

/// Steps on users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make an account.
    Create {
        /// Its address.
        #[arg(long)]
        email: String,
        /// Its password; `-` reads it from standard input.
        #[arg(long)]
        password: String,
        /// Its display name; otherwise the part of the address before the @.
        #[arg(long)]
        name: Option<String>,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Take a user's second factor away, with the backup codes: for people who lost everything. Their sessions end.
    ResetMfa {
        /// The account's address.
        #[arg(long)]
        email: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Set a new password. The user's sessions end, and so do the clients that they connected.
    SetPassword {
        /// The account's address.
        #[arg(long)]
        email: String,
        /// The new password; `-` reads it from standard input.
        #[arg(long)]
        password: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Print a link with which the user sets a new password: once, within 30 minutes.
    ResetLink {
        /// The account's address.
        #[arg(long)]
        email: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Give an account another address.
    SetEmail {
        /// The account's address.
        #[arg(long)]
        email: String,
        /// The new one.
        #[arg(long)]
        new_email: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Delete an account. Refused while the user is the last owner of an organisation.
    Delete {
        /// The account's address.
        #[arg(long)]
        email: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
}

/// Steps on sessions.
#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// End all sessions of a user.
    Revoke {
        /// The account's address.
        #[arg(long)]
        email: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
}

/// Steps on members.
#[derive(Debug, Subcommand)]
pub enum MemberCommand {
    /// Add a user to an organisation, or give a member another role.
    Add {
        /// The organisation's slug.
        #[arg(long)]
        org: String,
        /// The user's address.
        #[arg(long)]
        email: String,
        /// owner, admin, developer, member, viewer, or the name of a role that the organisation made.
        #[arg(long)]
        role: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Remove a member.
    Remove {
        /// The organisation's slug.
        #[arg(long)]
        org: String,
        /// The user's address.
        #[arg(long)]
        email: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
}

/// Steps on invitations.
#[derive(Debug, Subcommand)]
pub enum InviteCommand {
    /// Invite somebody. Without a mail server the link is printed, once.
    Create {
        /// The organisation's slug.
        #[arg(long)]
        org: String,
        /// Whom.
        #[arg(long)]
        email: String,
        /// owner, admin, developer, member, viewer, or the name of a role that the organisation made.
        #[arg(long)]
        role: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
    /// Print a new link for an open invitation; the one before stops working.
    Link {
        /// The organisation's slug.
        #[arg(long)]
        org: String,
        /// Whom it is for.
        #[arg(long)]
        email: String,
        /// How to answer.
        #[command(flatten)]
        output: Output,
    },
}
