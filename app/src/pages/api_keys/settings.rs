use crate::erase::Erase as _;
use leptos::prelude::*;
use model::{
    Permission,
    api_keys::ApiKeysPage,
    orgs::{KeyVisibility, Me},
};

use super::api::SetKeySettings;
use crate::{
    components::{ButtonKind, Card, Checkbox, Choice, Fact, Facts, RadioGroup, SubmitButton, Unsaved},
    form::{ErrorSummary, Form, PostForm},
};

const ONCE: &str = "Shown once";
const COPYABLE: &str = "Copyable";

/// The two settings of the organisation that are about keys. Others than those who manage security see how they stand.
pub(super) fn settings(page: &ApiKeysPage, me: &Me, form: Form<SetKeySettings>) -> AnyView {
    let about = "They apply to all keys of this organisation.";
    if !me.can(Permission::SecurityManage) {
        let visibility = match page.visibility {
            KeyVisibility::Once => "Shown once: only a hash is kept.",
            KeyVisibility::Copyable => "Copyable: an encrypted copy is kept, and each copying is audited.",
        };
        let url_keys = if page.url_keys { "Accepted, for keys marked for it." } else { "Not accepted." };
        return view! {
            <div id="key-settings">
                <Card title="Key settings" about="An owner or admin can change them.">
                    <Facts>
                        <Fact term="Visibility">{visibility}</Fact>
                        <Fact term="Keys in URLs">{url_keys}</Fact>
                    </Facts>
                </Card>
            </div>
        }
        .erase();
    }
    let (visibility, url_keys) = (page.visibility.as_str(), page.url_keys);
    let copies = page.keys.iter().filter(|key| key.copyable).count();
    let marked = page.keys.iter().filter(|key| key.url_key).count();
    let ways = vec![
        Choice::new("once", ONCE).hint("Only a hash is kept. A key can be copied when it is made, and never again."),
        Choice::new("copyable", COPYABLE).hint(
            "Keys made from now on are also kept encrypted. Whoever has api-keys:create can copy them; each copying is audited.",
        ),
    ];
    let destroys = (copies > 0).then(|| {
        let (count, they) = if copies == 1 {
            ("1 stored copy".to_owned(), "The key itself keeps working.")
        } else {
            (format!("{copies} stored copies"), "The keys themselves keep working.")
        };
        view! {
            <div class="destroys">
                <Checkbox
                    form=form
                    name="understood"
                    label=format!("Destroy {count} now")
                    hint=format!("It cannot be undone. {they}")
                />
            </div>
        }
        .erase()
    });
    let used = match marked {
        0 => String::new(),
        1 => " 1 key is marked for it now.".to_owned(),
        many => format!(" {many} keys are marked for it now."),
    };
    view! {
        <div id="key-settings">
            <Card title="Key settings" about=about>
                <PostForm form=form class="key-settings">
                    <ErrorSummary form=form />
                    <RadioGroup
                        form=form
                        name="visibility"
                        label="Visibility"
                        value=visibility
                        choices=ways
                    />
                    {destroys}
                    <Checkbox
                        form=form
                        name="url_keys"
                        label="Accept keys in URLs (?api_key=)"
                        hint=format!(
                            "For clients that take only an address, such as Claude Desktop and ChatGPT. It works only for keys marked for it.{used} \
                             Addresses end up in logs and histories."
                        )
                        checked=url_keys
                    />
                    <div class="actions">
                        <SubmitButton form=form label="Save key settings" kind=ButtonKind::Secondary />
                        <Unsaved />
                    </div>
                </PostForm>
            </Card>
        </div>
    }
    .erase()
}
