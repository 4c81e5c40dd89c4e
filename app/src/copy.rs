//! Words that more than one place says, and the notices that a redirect can ask for.

/// The product.
pub const PRODUCT: &str = "Gatehouse";
/// First in tab order.
pub const SKIP: &str = "Skip to content";
/// Above the errors of a form.
pub const NOT_SAVED: &str = "Nothing was changed yet";
/// The form did not arrive whole.
pub const BAD_FORM: &str =
    "The form could not be read, so nothing was changed. Reload the page and try again.";
/// The server answered in a way that this page does not know.
pub const UNREADABLE_ANSWER: &str =
    "The answer could not be read. Reload the page to see whether the change was made.";
/// Under an error of ours.
pub const NOTHING_CHANGED: &str = "Nothing was changed.";
/// In a form that was changed.
pub const UNSAVED: &str = "Unsaved changes";
/// After a copy button worked.
pub const COPIED: &str = "Copied";

/// The text of `?notice=word`; unknown words say nothing.
pub fn notice(word: &str) -> Option<&'static str> {
    Some(match word {
        "saved" => "Saved.",
        "org-created" => "Organisation created.",
        "org-switched" => "Organisation switched.",
        "signed-out" => "You are logged out.",
        "password-changed" => "Password changed. Other sessions are logged out.",
        "password-set" => "Password set. Log in with it.",
        "signed-up" => "Your account and your organisation are there.",
        "joined" => "You joined the organisation.",
        "declined" => "Invitation declined.",
        "address-confirmed" => "Address confirmed.",
        "org-deleted" => "The organisation is deleted. What is left of it is being removed now.",
        "plan-changed" => "Plan changed.",
        "account-deleted" => "Your account is deleted.",
        "invitation-withdrawn" => "Invitation withdrawn. Its link no longer works.",
        "session-ended" => "Session ended. That browser has to log in again.",
        "browser-distrusted" => {
            "That browser is not trusted any more. Its next log-in takes the second factor."
        }
        "sessions-ended" => "Logged out everywhere except here.",
        "connector-added" => "Connector added.",
        "connector-saved" => "Connector saved.",
        "connector-enabled" => "Connector enabled. Its tools are offered again.",
        "connector-disabled" => "Connector disabled. Its tools are no longer offered.",
        "connector-deleted" => "Connector deleted. Its tools are gone, its secrets erased.",
        "connector-checked" => "Connector checked.",
        "credentials-saved" => "Credentials saved.",
        "authorized" => "Authorised. Calls work from now on.",
        "disconnected" => "Disconnected. The tokens are erased.",
        "authorization-removed" => "Authorisation removed. Your tokens are erased.",
        "tool-enabled" => "Tool enabled.",
        "tool-saved" => "Tool saved.",
        "tool-approved" => "Definition approved.",
        "tool-rejected" => "Definition rejected. Agents are not offered this tool.",
        "tools-approved" => "New tools approved.",
        "quarantine-on" => "New and changed tools now wait for approval.",
        "quarantine-off" => "New and changed tools are now offered at once.",
        "tool-disabled" => "Tool disabled. Agents no longer see it.",
        "key-created" => "API key created.",
        "key-saved" => "API key saved.",
        "key-enabled" => "API key enabled. Requests with it work again.",
        "key-disabled" => "API key disabled. Requests with it now get 401.",
        "key-deleted" => "API key deleted. Requests with it now get 401.",
        "key-settings-saved" => "Key settings saved.",
        "connection-revoked" => "Connection revoked. Its client gets 401 from now on.",
        "connection-key-made" => "New key made. The client switches to it by itself.",
        "client-saved" => "OAuth client saved.",
        "client-deleted" => "OAuth client deleted. Applications with its ID stop working.",
        "client-revoked" => "All connections of that client are revoked.",
        "oauth-settings-saved" => "Saved. It applies to tokens issued from now on.",
        "idp-saved" => "Identity provider saved.",
        "idp-enabled" => "Identity provider switched on. Its tokens are accepted.",
        "idp-disabled" => "Identity provider switched off. Requests with its tokens now get 401.",
        "idp-deleted" => "Identity provider deleted. Requests with its tokens now get 401.",
        "sso-saved" => "Saved. It counts for everybody from now on.",
        "sso-tested" => "Tested. What the provider answered stands below.",
        "sso-domain-added" => "Domain added. Prove it with the record below.",
        "sso-domain-removed" => "Domain removed.",
        "activity-saved" => "Saved. It applies to requests from now on.",
        "role-saved" => "Role saved. It counts with the next request.",
        "role-deleted" => "Role deleted.",
        "role-changed" => "Role changed. It counts with the next request.",
        "member-removed" => "Member removed. Their sessions ended and their connections are revoked.",
        "org-left" => "You left the organisation.",
        "allowlist-saved" => "IP allowlist saved. It counts within a second.",
        "allowlist-trial" => "The IP allowlist is enforced, on trial. Keep it if you can still work.",
        "allowlist-kept" => "Kept. The IP allowlist stays as it is.",
        "allowlist-off" => "The IP allowlist is not enforced any more.",
        "passkey-added" => "Passkey added. It logs you in from now on.",
        "passkey-renamed" => "Passkey renamed.",
        "passkey-removed" => "Passkey removed. It opens nothing any more.",
        "app-off" => "The authenticator app is off. Your passkeys are your second factor.",
        "mfa-off" => "Two-factor authentication is off.",
        "pin-set" => "PIN set. It counts from now on.",
        "pin-removed" => "PIN removed.",
        "setup-done" => "This instance is set up.",
        "domain-added" => "Domain added. Set its two records.",
        "domain-removed" => "Domain removed. Nothing answers on it any more.",
        "webhook-saved" => "Webhook saved.",
        "webhook-paused" => "Webhook paused. Events wait.",
        "webhook-resumed" => "Webhook resumed. It hears of events again.",
        "webhook-deleted" => "Webhook deleted with its log.",
        "event-replayed" => "The event is sent once more.",
        "events-replayed" => "The events are sent once more.",
        "export-begun" => "Export begun. Its progress stands below.",
        "export-running" => "An export is under way already. Nothing new was begun.",
        "export-deleted" => "Export deleted with its file.",
        "connectors-imported" => "Connectors imported.",
        "steps-closed" => "First steps closed for everybody in this organisation.",
        _ => return None,
    })
}
