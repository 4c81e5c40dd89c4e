//! The mails that Gatehouse writes. Every link is made of the configured public URL (PWD-08), and every name in them is
//! text of somebody else (HDR-04).

use model::{MemberRole, Role, RoleKey, webhooks::DisabledFor};
use store::webhooks::Webhook;

use super::Letter;
use crate::{audit, env::Settings};

/// A mail with one thing to say and at most one thing to do.
struct Draft<'a> {
    subject: String,
    paragraphs: Vec<String>,
    /// The words on the button, and where it leads.
    button: Option<(&'a str, String)>,
    /// What is said under it.
    notes: Vec<String>,
}

impl Draft<'_> {
    fn to(self, to: &str) -> Letter {
        let Self { subject, paragraphs, button, notes } = self;
        let mut text = paragraphs.join("\n\n");
        let mut body: String = paragraphs.iter().map(|line| paragraph(line, "14px", "#1c2029")).collect();
        if let Some((label, link)) = &button {
            text = format!("{text}\n\n{label}:\n{link}");
            let link = escaped(link);
            body = format!(
                "{body}<p style=\"margin:24px 0\"><a href=\"{link}\" style=\"background:#22262f;border-radius:6px;color:#ffffff;display:inline-block;font-size:14px;font-weight:500;line-height:20px;padding:8px 16px;text-decoration:none\">{}</a></p>",
                escaped(label)
            );
            body.push_str(&paragraph("If the button does nothing, open this address:", "12px", "#5a6070"));
            body = format!(
                "{body}<p style=\"font-size:12px;line-height:16px;margin:0 0 16px;overflow-wrap:anywhere\"><a href=\"{link}\" style=\"color:#2d4ec9\">{link}</a></p>"
            );
        }
        for note in &notes {
            text.push_str("\n\n");
            text.push_str(note);
            body.push_str(&paragraph(note, "12px", "#5a6070"));
        }
        text.push_str("\n\n-- \nGatehouse\n");
        let html = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light\"><title>{title}</title></head><body style=\"background:#f6f7f9;font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;margin:0;padding:32px 16px\"><div style=\"background:#ffffff;border:1px solid #e1e4ea;border-radius:10px;margin:0 auto;max-width:480px;padding:32px\"><p style=\"color:#5a6070;font-size:12px;line-height:16px;margin:0 0 16px\">Gatehouse</p><h1 style=\"color:#1c2029;font-size:20px;font-weight:600;line-height:28px;margin:0 0 16px\">{title}</h1>{body}</div></body></html>",
            title = escaped(&subject),
        );
        Letter { to: to.to_owned(), subject, text, html, link: None }
    }

    /// The same, of a mail whose link somebody waits for.
    fn with_link_to(self, to: &str) -> Letter {
        let link = self.button.as_ref().map(|(_, link)| link.clone());
        Letter { link, ..self.to(to) }
    }
}

fn paragraph(text: &str, size: &str, colour: &str) -> String {
    format!(
        "<p style=\"color:{colour};font-size:{size};line-height:1.45;margin:0 0 12px;overflow-wrap:anywhere\">{}</p>",
        escaped(text)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// What is in every link: whoever did not ask for it has nothing to do.
const NOT_YOU: &str =
    "If you did not ask for this, you need not do anything: without the link nothing happens.";

/// "a developer", "an owner".
fn as_role(role: &MemberRole) -> String {
    match role.key {
        RoleKey::Built(Role::Owner | Role::Admin) => format!("an {role}"),
        RoleKey::Built(_) => format!("a {role}"),
        RoleKey::Custom(_) => format!("{role} (a role of its own)"),
    }
}

/// An invitation to an organisation.
pub(crate) fn invitation(to: &str, org: &str, inviter: &str, role: &MemberRole, link: String) -> Letter {
    Draft {
        subject: format!("{inviter} invites you to {org}"),
        paragraphs: vec![format!(
            "{inviter} invites you to join the organisation {org} on Gatehouse as {}.",
            as_role(role)
        )],
        button: Some(("Look at the invitation", link)),
        notes: vec![
            "The link works once, within seven days, and only for this address.".to_owned(),
            "If you do not know who this is, you need not do anything.".to_owned(),
        ],
    }
    .to(to)
}

/// Somebody whose invitation became too old asks for another.
pub(crate) fn invitation_asked_again(settings: &Settings, to: &str, email: &str, org: &str) -> Letter {
    Draft {
        subject: format!("{email} asks for another invitation"),
        paragraphs: vec![format!(
            "The invitation of {email} to {org} no longer works, and whoever has its link asks for another. Nothing was sent to them."
        )],
        button: Some(("Look at the invitations", settings.absolute(model::paths::team_invitations()))),
        notes: vec!["If you do not want them to join, you need not do anything.".to_owned()],
    }
    .to(to)
}

/// A link to set a new password.
pub(crate) fn reset(to: &str, link: String) -> Letter {
    Draft {
        subject: "Set a new password".to_owned(),
        paragraphs: vec!["Somebody asked for a new password for your Gatehouse account.".to_owned()],
        button: Some(("Set a new password", link)),
        notes: vec!["The link works once, within 30 minutes.".to_owned(), NOT_YOU.to_owned()],
    }
    .with_link_to(to)
}

/// A link to make an account.
pub(crate) fn sign_up(to: &str, link: String) -> Letter {
    Draft {
        subject: "Finish your sign-up".to_owned(),
        paragraphs: vec!["Somebody wants to make a Gatehouse account with this address.".to_owned()],
        button: Some(("Make the account", link)),
        notes: vec!["The link works once, within 30 minutes.".to_owned(), NOT_YOU.to_owned()],
    }
    .with_link_to(to)
}

/// Somebody wanted an account with an address that has one.
pub(crate) fn has_account(settings: &Settings, to: &str) -> Letter {
    Draft {
        subject: "You have an account already".to_owned(),
        paragraphs: vec![
            "Somebody wants to make a Gatehouse account with this address. It has one already.".to_owned(),
            "If that was you, log in; on the log-in page you can also set a new password.".to_owned(),
        ],
        button: Some(("Log in", settings.absolute(model::paths::sign_in()))),
        notes: vec![NOT_YOU.to_owned()],
    }
    .to(to)
}

/// A link to prove an address.
pub(crate) fn verify(to: &str, link: String) -> Letter {
    Draft {
        subject: "Confirm your address".to_owned(),
        paragraphs: vec!["Confirm that this is the address of your Gatehouse account.".to_owned()],
        button: Some(("Confirm the address", link)),
        notes: vec!["The link works once, within 30 minutes.".to_owned(), NOT_YOU.to_owned()],
    }
    .with_link_to(to)
}

/// A link to turn an account to a new address.
pub(crate) fn new_address(to: &str, name: &str, link: String) -> Letter {
    Draft {
        subject: "Confirm your new address".to_owned(),
        paragraphs: vec![format!(
            "{name} wants to use this address for their Gatehouse account instead of the present one."
        )],
        button: Some(("Use this address", link)),
        notes: vec!["The link works once, within 30 minutes.".to_owned(), NOT_YOU.to_owned()],
    }
    .with_link_to(to)
}

/// A notice about an account, with what to do if it was somebody else.
fn notice(settings: &Settings, to: &str, subject: &str, what: String) -> Letter {
    Draft {
        subject: subject.to_owned(),
        paragraphs: vec![what],
        button: None,
        notes: vec![format!(
            "If that was not you, set a new password at once ({}) and tell an administrator of your organisation.",
            settings.absolute(model::paths::forgot_password())
        )],
    }
    .to(to)
}

/// The password was changed or set anew.
pub(crate) fn password_changed(settings: &Settings, to: &str, by_link: bool) -> Letter {
    let what = if by_link {
        "A new password was set for your account with a link that was sent to you. All of your sessions ended, and the MCP clients that you connected have to be connected again."
    } else {
        "The password of your account was changed. Your other sessions ended."
    };
    notice(settings, to, "Your password was changed", what.to_owned())
}

/// The account has another address now; this goes to the one before.
pub(crate) fn address_changed(settings: &Settings, to: &str, new: &str) -> Letter {
    let what = format!(
        "Your account has a new address, {new}. You log in with it from now on, and no longer with this one."
    );
    notice(settings, to, "Your address was changed", what)
}

/// Somebody logged in from a browser that the account does not know.
pub(crate) fn new_device(settings: &Settings, to: &str, address: &str, agent: &str) -> Letter {
    let address = if address.is_empty() { "an unknown address" } else { address };
    let agent = if agent.is_empty() { "a browser that does not say what it is" } else { agent };
    notice(
        settings,
        to,
        "A new browser logged in",
        format!(
            "Somebody logged in to your account from {address} with {agent}, which had not been seen before."
        ),
    )
}

/// Somebody logged in after many failures.
pub(crate) fn after_failures(settings: &Settings, to: &str, failures: i64, address: &str) -> Letter {
    notice(
        settings,
        to,
        "A log-in after many failed ones",
        format!("After {failures} failed tries somebody logged in to your account from {address}."),
    )
}

/// What became of a second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FactorNews {
    /// It was set up.
    On,
    /// Another app took its place.
    Replaced,
    /// New backup codes were made.
    NewCodes,
    /// A passkey was added.
    PasskeyAdded,
    /// A passkey was removed, and something else remains.
    PasskeyRemoved,
    /// The authenticator app was turned off, and a passkey remains.
    AppRemoved,
    /// It was turned off.
    Off,
    /// The operator took it away.
    Reset,
}

/// The second factor of an account changed.
pub(crate) fn second_factor(settings: &Settings, to: &str, news: FactorNews) -> Letter {
    let (subject, what) = match news {
        FactorNews::On => {
            ("Two-factor authentication is on", "Logging in to your account takes a code from now on.")
        }
        FactorNews::Replaced => (
            "Another authenticator app",
            "Codes for your account come from another app now, and there are new backup codes. The old ones are worth nothing.",
        ),
        FactorNews::NewCodes => (
            "New backup codes",
            "New backup codes were made for your account. The old ones are worth nothing.",
        ),
        FactorNews::PasskeyAdded => (
            "A passkey was added",
            "A passkey was added to your account. It opens the account without your password.",
        ),
        FactorNews::PasskeyRemoved => {
            ("A passkey was removed", "A passkey was removed from your account. It opens nothing any more.")
        }
        FactorNews::AppRemoved => (
            "Your authenticator app was turned off",
            "Codes of your authenticator app are worth nothing any more. Your passkeys are your second factor.",
        ),
        FactorNews::Off => {
            ("Two-factor authentication is off", "Your password alone opens your account from now on.")
        }
        FactorNews::Reset => (
            "Your second factor was taken away",
            "Whoever operates Gatehouse took the second factor off your account. Your sessions ended, and your password alone opens it from now on.",
        ),
    };
    notice(settings, to, subject, what.to_owned())
}

/// A backup code opened the account.
pub(crate) fn backup_code_used(settings: &Settings, to: &str, left: i64, address: &str) -> Letter {
    let address = if address.is_empty() { "an unknown address" } else { address };
    let what = format!(
        "A backup code of your account was used from {address}. It is worth nothing now; {left} are left."
    );
    notice(settings, to, "A backup code was used", what)
}

/// A refresh token of a client that the person connected came back after it had been replaced (OAR-07).
pub(crate) fn token_reused(settings: &Settings, to: &str, client: &str, ended: bool) -> Letter {
    let then = if ended {
        "Its access was ended. If you use it, connect it again."
    } else {
        "That request was refused; its access goes on, as your organisation wants it."
    };
    Draft {
        subject: format!("A token of {client} was used twice"),
        paragraphs: vec![format!(
            "A refresh token of the client {client}, which you connected, was used again after it had been replaced. Somebody may have a copy. {then}"
        )],
        button: Some(("Look at your connections", settings.absolute(model::paths::profile_connections()))),
        notes: Vec::new(),
    }
    .to(to)
}

/// The account was deleted.
pub(crate) fn account_deleted(to: &str) -> Letter {
    Draft {
        subject: "Your account was deleted".to_owned(),
        paragraphs: vec![
            "Your Gatehouse account was deleted. Your sessions ended, and the MCP clients that you connected are cut off."
                .to_owned(),
        ],
        button: None,
        notes: vec!["If that was not you, tell an administrator of your organisation.".to_owned()],
    }
    .to(to)
}

/// An organisation of theirs was deleted.
pub(crate) fn org_deleted(to: &str, org: &str, by: &str) -> Letter {
    Draft {
        subject: format!("The organisation {org} was deleted"),
        paragraphs: vec![
            format!("{by} deleted the organisation {org}, with its connectors, keys, connections and logs."),
            "Your account stays, and so do your other organisations. Clients that were connected to it are refused from now on.".to_owned(),
        ],
        button: None,
        notes: Vec::new(),
    }
    .to(to)
}

/// The role of a member changed.
pub(crate) fn role_changed(to: &str, org: &str, role: &MemberRole) -> Letter {
    Draft {
        subject: format!("Your role in {org} changed"),
        paragraphs: vec![format!("You are now {} in the organisation {org}.", as_role(role))],
        button: None,
        notes: Vec::new(),
    }
    .to(to)
}

/// A member was removed.
pub(crate) fn removed(to: &str, org: &str) -> Letter {
    Draft {
        subject: format!("You are no longer a member of {org}"),
        paragraphs: vec![format!(
            "You were removed from the organisation {org}. The MCP clients that you connected to it are cut off."
        )],
        button: None,
        notes: Vec::new(),
    }
    .to(to)
}

/// A webhook has taken no delivery for a day (WHK-04).
pub(crate) fn webhook_failing(settings: &Settings, to: &str, org: &str, webhook: &Webhook) -> Letter {
    Draft {
        subject: format!("A webhook of {org} takes no events"),
        paragraphs: vec![
            format!(
                "The webhook {} of the organisation {org} has taken no event for a day. Gatehouse goes on trying.",
                webhook.url
            ),
            "If it takes none within the next four days, Gatehouse disables it.".to_owned(),
        ],
        button: Some(("Look at the deliveries", settings.absolute(&model::paths::webhook(webhook.id)))),
        notes: vec!["You get this because you administer the organisation.".to_owned()],
    }
    .to(to)
}

/// Gatehouse disabled a webhook (WHK-04).
pub(crate) fn webhook_disabled(
    settings: &Settings,
    to: &str,
    org: &str,
    webhook: &Webhook,
    reason: DisabledFor,
) -> Letter {
    let why = match reason {
        DisabledFor::Failing => "it has taken no event for five days",
        DisabledFor::Gone => "its receiver answered that it is gone for good (410)",
    };
    Draft {
        subject: format!("A webhook of {org} was disabled"),
        paragraphs: vec![
            format!("Gatehouse disabled the webhook {} of the organisation {org}: {why}.", webhook.url),
            "Nothing is sent to it now. Events wait for 30 days; when it is resumed they are sent."
                .to_owned(),
        ],
        button: Some(("Look at the webhook", settings.absolute(&model::paths::webhook(webhook.id)))),
        notes: vec!["You get this because you administer the organisation.".to_owned()],
    }
    .to(to)
}

/// The record that proved the domain of an organisation's people is missing, or has been for too long.
pub(crate) fn sso_domain(
    settings: &Settings,
    to: &str,
    org: &str,
    domain: &str,
    lapsed: bool,
    required: bool,
) -> Letter {
    let mut paragraphs = vec![if lapsed {
        format!(
            "The TXT record that proved {domain} for the organisation {org} has been gone for three days. So people with an address of {domain} cannot log in with SSO any more. Whoever is logged in stays so."
        )
    } else {
        format!(
            "The TXT record that proves {domain} for the organisation {org} is gone. If it is not there again within three days, people with an address of {domain} cannot log in with SSO any more."
        )
    }];
    if required {
        paragraphs.push(
            "Members of this organisation have to log in with SSO. Owners can always log in with their password and second factor."
                .to_owned(),
        );
    }
    Draft {
        subject: if lapsed {
            format!("{domain} no longer counts for SSO of {org}")
        } else {
            format!("The record of {domain} for SSO of {org} is gone")
        },
        paragraphs,
        button: Some(("Look at the domains", settings.absolute(model::paths::settings_sso_login()))),
        notes: vec!["You get this because you administer the organisation.".to_owned()],
    }
    .to(to)
}

/// What happened to an organisation's domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DomainNews {
    /// Its records were not found in time.
    NotFound,
    /// Its records are missing although it is in use.
    Failing,
    /// It went out of use.
    Removed,
}

/// A domain needs its people's attention (TEN-06).
pub(crate) fn domain(settings: &Settings, to: &str, org: &str, host: &str, news: DomainNews) -> Letter {
    let (subject, paragraphs) = match news {
        DomainNews::NotFound => (
            format!("The records of {host} were not found"),
            [
                format!(
                    "The organisation {org} entered the domain {host} two days ago. Its DNS records are not there, or say something else."
                ),
                "Gatehouse does not look for them any more. When they are set, press Verify on the page."
                    .to_owned(),
            ],
        ),
        DomainNews::Failing => (
            format!("The DNS records of {host} are missing"),
            [
                format!(
                    "The domain {host} of the organisation {org} does not have the DNS records any more that prove it. It goes on working for now."
                ),
                "If they are not back within three days, Gatehouse stops answering on the domain.".to_owned(),
            ],
        ),
        DomainNews::Removed => (
            format!("{host} does not work any more"),
            [
                format!(
                    "The DNS records of the domain {host} of the organisation {org} were missing for three days, so Gatehouse does not answer on it any more. Access tokens for it are refused."
                ),
                format!("The address of {org} on this instance works as before."),
            ],
        ),
    };
    Draft {
        subject,
        paragraphs: paragraphs.into(),
        button: Some(("Look at the domain", settings.absolute(model::paths::settings_domain()))),
        notes: vec!["You get this because you administer the organisation.".to_owned()],
    }
    .to(to)
}

/// `2026-03-12 14:05 UTC`.
fn minute(ms: i64) -> String {
    let time = audit::time(ms.saturating_mul(1000));
    format!("{} UTC", time.chars().take(16).collect::<String>().replace('T', " "))
}

/// How an export ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ExportOutcome<'a> {
    /// The file is there until then, Unix milliseconds.
    Ready { expires_at: i64 },
    /// There is none, for this reason.
    Failed(&'a str),
}

/// An export that somebody asked for is ready, or failed (DEL-05). The file is never in a mail: the page gives it to whoever
/// is logged in and may have it.
pub(crate) fn export(settings: &Settings, to: &str, org: &str, outcome: ExportOutcome<'_>) -> Letter {
    let (subject, paragraphs, label, notes) = match outcome {
        ExportOutcome::Ready { expires_at } => (
            format!("Your export of {org} is ready"),
            vec![
                format!("The export of the organisation {org} that you asked for is ready to be downloaded."),
                format!("It is kept until {}. After that the file is gone.", minute(expires_at)),
            ],
            "Download it",
            vec![
                "The link leads to the page of exports: you have to be logged in, and allowed to export."
                    .to_owned(),
            ],
        ),
        ExportOutcome::Failed(why) => (
            format!("Your export of {org} failed"),
            vec![format!("The export of the organisation {org} that you asked for failed."), why.to_owned()],
            "Look at the exports",
            Vec::new(),
        ),
    };
    let button = Some((label, settings.absolute(model::paths::settings_export())));
    Draft { subject, paragraphs, button, notes }.to(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hdr_04_names_in_mails_are_text() {
        let link = "https://gatehouse.example.com/invite/a?b&c".to_owned();
        let letter = invitation("ada@example.com", "<img src=x>", "Eve \"&", &Role::Admin.into(), link);
        assert!(!letter.html.contains("<img") && letter.html.contains("&lt;img src=x&gt;"));
        assert!(letter.html.contains("href=\"https://gatehouse.example.com/invite/a?b&amp;c\""));
        assert!(letter.text.contains("https://gatehouse.example.com/invite/a?b&c\n"));
        assert!(letter.text.contains("as an admin."));
    }
}
