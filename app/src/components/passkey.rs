use leptos::prelude::*;
use model::factors::PasskeyPurpose;

use super::Icon;
use crate::erase::Erase as _;

/// The button that uses a passkey in the form around it: the field `passkey` gets what the authenticator answered, and the
/// form is sent. The script of passkeys does that; without scripts there are none, and the page says so.
pub(crate) fn passkey_button(purpose: PasskeyPurpose, label: &'static str) -> AnyView {
    view! {
        <div class="passkey">
            <input type="hidden" name="passkey" />
            <button type="button" class="button" data-passkey=purpose.as_str()>
                <Icon name="key-round" />
                <span>{label}</span>
            </button>
            <p class="hint" role="status"></p>
            <p class="hint without-scripts">"Passkeys need scripts, and this browser runs none here. Use one of the other ways."</p>
        </div>
    }
    .erase()
}
