use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};
use model::{
    factors::{Passkey, PasskeyOffer, PasskeyPurpose, Passkeys, SecondStep},
    paths,
};

use super::api::{AddPasskey, LoadPasskeys, RemovePasskey, RenamePasskey};
use crate::{
    components::{
        ButtonKind, Callout, Card, Crumb, Disclosure, EmptyState, Fact, Facts, PageHeader, SubmitButton,
        TextField, Time, Tone, passkey_button,
    },
    erase::Erase as _,
    form::{ErrorSummary, Form, FormCore, PostForm, use_form, use_form_for},
    page::{Loaded, load, page, query_param},
    pages::deletion::your_password,
    pages::factors::{api::ConfirmIdentity, backup_codes, confirm_you},
};

const NAME_MAX: usize = 64;

/// Passkeys.
pub struct PasskeysPage {
    passkeys: Loaded<Passkeys>,
}

/// What the page can do to all of them.
#[derive(Clone, Copy)]
struct Forms {
    confirm_you: Form<ConfirmIdentity>,
    add: Form<AddPasskey>,
    /// Without scripts, one that is gone has no row any more to say what came of it.
    gone: Form<RemovePasskey>,
}

#[lazy_route]
impl LazyRoute for PasskeysPage {
    fn data() -> Self {
        Self { passkeys: load(LoadPasskeys {}) }
    }

    fn view(this: Self) -> AnyView {
        let forms = Forms { confirm_you: use_form(), add: use_form(), gone: use_form() };
        // The proof grew too old meanwhile: load again, and the page asks for a new one.
        let passkeys = this.passkeys;
        Effect::new(move |_| {
            let is_old = |form: FormCore| {
                form.error().with(|error| error.as_ref().is_some_and(|error| error.code == "reauth_required"))
            };
            if is_old(forms.add.into()) {
                passkeys.refetch();
            }
        });
        let next = query_param("next");
        page(this.passkeys, move |passkeys, _| view_of(&forms, &passkeys, &next.get_untracked()))
    }
}

fn view_of(forms: &Forms, passkeys: &Passkeys, next: &str) -> AnyView {
    let forms = *forms;
    let next = paths::safe_next(Some(next).filter(|next| !next.is_empty())).to_owned();
    let forced = (passkeys.list.is_empty() && !passkeys.app && !passkeys.required_by.is_empty()).then(|| {
        let orgs = passkeys.required_by.join(", ");
        let other = paths::profile_two_factor_then(&next);
        view! {
            <Callout tone=Tone::Warn title=format!("{orgs} requires a second factor")>
                <p>"A passkey is one. Or set up an " <a href=other>"authenticator app"</a> "."</p>
            </Callout>
        }
        .erase()
    });
    let gone = forms
        .gone
        .value_of("id")
        .is_some_and(|id| passkeys.list.iter().all(|passkey| passkey.id.to_string() != id))
        .then(|| view! { <ErrorSummary form=forms.gone /> }.erase());
    let list = list(passkeys);
    let acts = acts(&forms, passkeys, &next);
    let made = {
        let next = next.clone();
        move || {
            let codes = forms.add.ok().get().filter(|codes| !codes.is_empty())?;
            Some(backup_codes(&codes, &next, paths::profile_passkeys()))
        }
    };
    view! {
        <div class="narrow">
            <PageHeader
                title="Passkeys"
                crumbs=vec![Crumb::new(paths::profile(), "Profile")]
                about="Your fingerprint, face or device PIN opens your account: no password to type, and none to be stolen."
            />
            <div class="stack-wide">
                {forced}
                {made}
                {gone}
                {list}
                {acts}
            </div>
        </div>
    }
    .erase()
}

fn list(passkeys: &Passkeys) -> AnyView {
    if passkeys.list.is_empty() {
        let about = match passkeys.offer {
            PasskeyOffer::Offered => format!(
                "One that you add belongs to {}, and works only there. Keep the password, too: it is the way in from elsewhere.",
                passkeys.host
            ),
            PasskeyOffer::NeedsHostName => format!(
                "Passkeys need a host name, and people reach this instance by the address {}. Whoever operates it can give it a name and set GATEHOUSE_PUBLIC_URL to that.",
                passkeys.host
            ),
            PasskeyOffer::NotBuilt => {
                "This build of Gatehouse has no passkeys. An authenticator app does as a second factor."
                    .to_owned()
            }
        };
        return view! { <EmptyState icon="key-round" title="No passkeys" about=about /> }.erase();
    }
    let last = passkeys.list.len() == 1 && !passkeys.app;
    passkeys.list.iter().map(|passkey| card(passkeys, passkey, last)).collect_view().into_any()
}

fn card(passkeys: &Passkeys, passkey: &Passkey, last: bool) -> AnyView {
    let now = passkeys.now;
    let used = match passkey.last_used_at {
        Some(at) => view! { <Time at=at now=now /> }.erase(),
        None => "Never".into_any(),
    };
    let rename = use_form_for::<RenamePasskey>("id", passkey.id);
    let remove = use_form_for::<RemovePasskey>("id", passkey.id);
    let removal = removal(passkeys, remove, last);
    let (added, name, title) = (passkey.created_at, passkey.name.clone(), passkey.name.clone());
    view! {
        <Card title=title>
            <Facts>
                <Fact term="Added"><Time at=added now=now /></Fact>
                <Fact term="Last used">{used}</Fact>
            </Facts>
            <Disclosure title="Rename or remove">
                <PostForm form=rename>
                    <ErrorSummary form=rename />
                    <TextField form=rename name="name" label="Name" value=name max=NAME_MAX />
                    <SubmitButton form=rename label="Rename" kind=ButtonKind::Secondary />
                </PostForm>
                {removal}
            </Disclosure>
        </Card>
    }
    .erase()
}

fn removal(passkeys: &Passkeys, form: Form<RemovePasskey>, last: bool) -> AnyView {
    if last && !passkeys.required_by.is_empty() {
        let orgs = passkeys.required_by.join(", ");
        return view! {
            <p>"It cannot be removed: it is your only second factor, and " <strong>{orgs}</strong> " requires one. Add another first."</p>
        }
        .erase();
    }
    if !passkeys.fresh {
        return view! { <p class="hint">"To remove it, confirm below that it is you first."</p> }.erase();
    }
    let (asked, by_passkey) = if last {
        let asked = view! {
            <p>"It is your only second factor: your password alone opens your account then, and the backup codes are worth nothing."</p>
            {your_password(form.into(), "Password", passkeys.no_password, paths::profile_passkeys())}
            <TextField form=form name="code" label="Backup code" hint="Or use the passkey itself once more." autocomplete="one-time-code" mono=true />
        }
        .erase();
        let by_passkey = passkey_button(PasskeyPurpose::Confirm, "Remove with the passkey");
        (asked, Some(by_passkey))
    } else {
        let asked = view! { <p>"It opens nothing any more from then on. Delete it in your password manager or authenticator as well."</p> };
        (asked.erase(), None)
    };
    view! {
        <PostForm form=form>
            <ErrorSummary form=form />
            {asked}
            <SubmitButton form=form label="Remove passkey" busy="Removing…" kind=ButtonKind::Danger />
            {by_passkey}
        </PostForm>
    }
    .erase()
}

fn acts(forms: &Forms, passkeys: &Passkeys, next: &str) -> AnyView {
    let forms = *forms;
    let has = !passkeys.list.is_empty();
    if !passkeys.fresh && (has || passkeys.offer.is_offered()) {
        let here = if next == paths::overview() {
            paths::profile_passkeys().to_owned()
        } else {
            paths::profile_passkeys_then(next)
        };
        return confirm_you(
            forms.confirm_you,
            &here,
            SecondStep { app: passkeys.app, passkey: has, no_password: passkeys.no_password },
        );
    }
    if !passkeys.offer.is_offered() {
        return ().into_any();
    }
    let codes = has.then(|| {
        let left = format!("{} backup codes left. ", passkeys.codes_left);
        view! { <p class="hint">{left} <a href=paths::profile_two_factor()>"Make new ones"</a></p> }.erase()
    });
    let next = next.to_owned();
    view! {
        <Card title="Add a passkey" about="Your browser asks where to keep it: on this device, in a password manager, on a phone or on a security key.">
            <PostForm form=forms.add>
                <ErrorSummary form=forms.add />
                <input type="hidden" name="next" value=next />
                <TextField
                    form=forms.add
                    name="name"
                    label="Name"
                    hint="To tell it from others: \"Laptop\", \"Phone\", \"Blue security key\"."
                    max=NAME_MAX
                />
                {passkey_button(PasskeyPurpose::Register, "Add passkey")}
            </PostForm>
            {codes}
        </Card>
    }
    .erase()
}
