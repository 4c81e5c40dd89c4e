//! The component gallery at `/__ui`: every component in every state. For development; a release shows "not found".

use crate::erase::Erase as _;
#[cfg(not(feature = "gallery"))]
use leptos::prelude::*;

/// What `/__ui` shows without the feature `gallery`: the same as any other unknown address.
#[cfg(not(feature = "gallery"))]
pub(crate) fn view() -> AnyView {
    view! { <crate::components::NotFound /> }.erase()
}

#[cfg(feature = "gallery")]
pub(crate) use shown::view;

#[cfg(feature = "gallery")]
#[cfg_attr(
    feature = "ssr",
    expect(clippy::unused_async, reason = "a server function is async even if it asks nobody")
)]
mod shown {
    use leptos::prelude::*;
    use model::{AppError, ErrorKind, FieldError, Permission, connectors::Health};

    use crate::{
        components::{
            Badge, ButtonForm, ButtonKind, Callout, Card, Checkbox, CheckboxGroup, Checklist, Choice,
            CodeBlock, CopyButton, CopyField, Crumb, DataTable, Dialog, DialogActions, Disclosure,
            EmptyState, ErrorState, Fact, Facts, HealthBadge, LinkButton, Menu, OpenDialog, PageHeader,
            PasswordField, RadioGroup, SelectField, Step, SubmitButton, Switch, TextArea, TextField, Time,
            Tone,
        },
        form::{ErrorSummary, FormCore, PostForm, use_form},
    };

    const NOW: i64 = 1_773_324_306_000;
    const LONG: &str = "a-connector-with-a-name-of-forty-letters";

    fn form(error: bool, values: Vec<(String, String)>) -> FormCore {
        let error = error.then(|| {
            let mut error = AppError::new(ErrorKind::Invalid, "invalid", "Two fields have to change.");
            for field in ["name", "password", "about", "kind", "agree", "connectors", "mode"] {
                error.fields.push(FieldError {
                    field: field.to_owned(),
                    message: format!("Enter something else for {field}"),
                });
            }
            error
        });
        FormCore::inert(if error.is_some() { "failed" } else { "fresh" }, error, values)
    }

    fn choices() -> Vec<Choice> {
        vec![
            Choice::new("github", "GitHub").hint("12 of 15 tools"),
            Choice::new("search", "Search"),
            Choice::new("long", LONG),
        ]
    }

    fn fields(form: FormCore) -> AnyView {
        view! {
            <PostForm form=form>
                <ErrorSummary form=form />
                <TextField form=form name="name" label="Name" hint="Where the key will be used" value="ci-bot" max=64 />
                <TextField form=form name="url" label="URL" kind="url" mono=true value="https://mcp.example.com/mcp" />
                <PasswordField form=form name="password" label="Password" />
                <TextArea form=form name="about" label="Description" hint="At most 280 characters" />
                <SelectField form=form name="kind" label="Expires" choices=choices() value="search" />
                <RadioGroup form=form name="mode" label="Connectors" choices=choices() value="github" />
                <CheckboxGroup
                    form=form
                    name="connectors[]"
                    label="Which"
                    hint="Only these can be used"
                    choices=choices()
                    values=vec!["search".to_owned()]
                />
                <Checkbox form=form name="agree" label="Works as ?api_key=" hint="Only for clients that take an address" />
                <div class="actions">
                    <SubmitButton form=form label="Create key" busy="Creating…" icon="plus" />
                    <LinkButton href="/__ui" label="Cancel" />
                </div>
            </PostForm>
        }
        .erase()
    }

    fn rows() -> AnyView {
        let all = [Health::Healthy, Health::Degraded, Health::Down, Health::Unknown];
        ["GitHub", LONG, "Search", "New"]
            .into_iter()
            .zip(all)
            .zip(1_i64..)
            .map(|((name, health), at)| {
                let form = FormCore::inert("switch", None, Vec::new());
                view! {
                    <tr>
                        <th scope="row" data-label="Name"><a href="/__ui">{name}</a></th>
                        <td data-label="Health"><HealthBadge health=health /></td>
                        <td data-label="Tools" class="number">{format!("{} of 15", at * 5)}</td>
                        <td data-label="Checked"><Time at=NOW - 860_000 * at now=NOW /></td>
                        <td data-label="Enabled"><Switch form=form label=format!("Connector {name}") on={at % 2 == 0} /></td>
                        <td>
                            <div class="row-actions">
                                <Menu name=format!("Actions for {name}")>
                                    <a class="button quiet" href="/__ui">"Edit"</a>
                                    <a class="button quiet" href="/__ui">"Delete"</a>
                                </Menu>
                            </div>
                        </td>
                    </tr>
                }.erase()
            })
            .collect_view()
            .into_any()
    }

    /// Fails, shows a secret once, or goes back, as the name says.
    #[server(prefix = "/api", endpoint = "gallery_try")]
    async fn gallery_try(name: String, password: String) -> Result<String, AppError> {
        _ = password;
        match name.as_str() {
            "secret" => Ok("gth_live_sk_shown-once".to_owned()),
            "saved" => {
                crate::ssr::redirect("/__ui?notice=saved");
                Ok(String::new())
            }
            "away" => {
                crate::ssr::redirect("/help/quickstart");
                Ok(String::new())
            }
            _ => Err(AppError::field("name", "name", "Enter secret, saved or away")),
        }
    }

    /// All of them.
    pub(crate) fn view() -> AnyView {
        let act = FormCore::inert("act", None, Vec::new());
        let off = FormCore::inert("off", None, Vec::new());
        let real = use_form::<GalleryTry>();
        let secret = move || {
            real.ok()
                .get()
                .filter(|s| !s.is_empty())
                .map(|s| view! { <CopyField label="secret" text=s /> }.erase())
        };
        let steps = vec![
            Step {
                done: true,
                title: "Add connector".into(),
                about: "An MCP server to speak to.".into(),
                href: "/".into(),
            },
            Step {
                done: false,
                title: "Create a key".into(),
                about: "Or connect a client.".into(),
                href: "/".into(),
            },
        ];
        let failure = AppError {
            request_id: Some("req_01h".into()),
            ..AppError::new(ErrorKind::Unavailable, "database", "The database did not answer in time.")
        };
        view! {
            <PageHeader
                title="Components"
                about="All of them, in all states."
                crumbs=vec![Crumb::new("/", "Overview"), Crumb::new("/settings", "Settings")]
                action=view! { <LinkButton href="/__ui" label="Add connector" kind=ButtonKind::Primary icon="plus" /> }.erase()
            />
            <Card title="Buttons">
                <div class="actions">
                    <LinkButton href="/__ui" label="Primary" kind=ButtonKind::Primary />
                    <LinkButton href="/__ui" label="Secondary" />
                    <LinkButton href="/__ui" label="Danger" kind=ButtonKind::Danger icon="trash-2" />
                    <LinkButton href="/__ui" label="Quiet" kind=ButtonKind::Quiet icon="pencil" />
                    <ButtonForm form=act label="Check now" icon="refresh-cw" />
                    <CopyButton text="copied" name="Copy id" />
                    <CopyButton text="copied" name="Copy id" label="Copy" />
                    <OpenDialog dialog="gallery-dialog" label="Open dialog" kind=ButtonKind::Secondary />
                    <OpenDialog dialog="gallery-dialog" label="Delete key" kind=ButtonKind::Danger href="/__ui" />
                    <Switch form=off label="Something" on=false />
                    <Switch form=act label="Something" on=true />
                    <Switch form=act label="Something" on=true allowed=false />
                </div>
            </Card>
            <Card title="A form that is sent">
                <Dialog id="gallery-secret" title="A secret" close="Done" open=Signal::derive(move || real.ok().get().is_some_and(|s| !s.is_empty()))>
                    {secret}
                </Dialog>
                <PostForm form=real>
                    <ErrorSummary form=real />
                    <TextField form=real name="name" label="Name" hint="secret, saved or away" />
                    <PasswordField form=real name="password" label="Password" />
                    <SubmitButton form=real label="Send" busy="Sending…" />
                </PostForm>
            </Card>
            <Card title="A form" about="One Save per card.">{fields(form(false, Vec::new()))}</Card>
            <Card title="A form that failed">{fields(form(true, vec![("name".into(), "typed before".into())]))}</Card>
            <Card title="A table">
                <DataTable caption="Connectors" columns=vec!["Name", "Health", "Tools", "Checked", "Enabled", ""]>
                    {rows()}
                </DataTable>
            </Card>
            <Card title="Facts">
                <Facts>
                    <Fact term="Endpoint"><CopyField label="endpoint" text="https://gateway.example.com/mcp/acme" /></Fact>
                    <Fact term="Key"><CopyField label="key" text="whole" shown="gth_live_sk_AbCd…x9Qf" /></Fact>
                    <Fact term="Created"><Time at=NOW - 40 * 86_400_000 now=NOW /></Fact>
                    <Fact term="State">
                        <div class="actions">
                            <Badge label="active" tone=Tone::Ok />
                            <Badge label="never used" />
                            <Badge label="new" tone=Tone::Info />
                        </div>
                    </Fact>
                </Facts>
            </Card>
            <Card title="Callouts" class="stack-wide">
                <div class="stack">
                    <Callout title="Worth knowing"><p>"The endpoint stays the same."</p></Callout>
                    <Callout tone=Tone::Warn title="Used 14 minutes ago"><p>"Deleting it breaks what calls with it."</p></Callout>
                    <Callout tone=Tone::Bad title="Not reached"><p>"The name does not resolve."</p></Callout>
                    <Callout tone=Tone::Ok><p>"Everything is well."</p></Callout>
                    <Callout tone=Tone::Neutral><p>"Nothing to say."</p></Callout>
                </div>
            </Card>
            <Card title="Code and disclosures">
                <CodeBlock label="Terminal (bash)" text="curl -X POST https://gateway.example.com/mcp/acme -H 'X-API-Key: …' -d '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}'" />
                <Disclosure title="Claude Code" group="clients" open=true><p>"Paste this into a terminal."</p></Disclosure>
                <Disclosure title="Cursor" group="clients"><p>"Click to install."</p></Disclosure>
            </Card>
            <Card title="Getting started"><Checklist steps=steps /></Card>
            <EmptyState icon="plug" title="No connectors yet" about="A connector is one MCP server that Gatehouse speaks to for you.">
                <LinkButton href="/__ui" label="Add connector" kind=ButtonKind::Primary />
                <a href="/help/quickstart">"How it works"</a>
            </EmptyState>
            <ErrorState error=failure />
            <section aria-label="Denied"><p class="muted">{format!("See {} for the page that is denied.", Permission::ApiKeysRead)}</p></section>
            <Dialog id="gallery-dialog" title="Delete key ci-bot?">
                <ul>
                    <li>"Requests with it get 401 from now on."</li>
                    <li>"It cannot be undone."</li>
                </ul>
                <PostForm form=act><DialogActions form=act dialog="gallery-dialog" label="Delete key" busy="Deleting…" /></PostForm>
            </Dialog>
        }
        .erase()
    }
}
