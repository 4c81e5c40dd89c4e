//! Small accessible building blocks. They know words and states, but no server functions.

mod badge;
mod button;
mod callout;
mod card;
mod checks;
mod code;
mod dialog;
mod field;
mod header;
mod icon;
mod passkey;
mod states;
mod table;
mod time;

pub use badge::{Avatar, Badge, HealthBadge, Tone};
pub use button::{ButtonForm, ButtonKind, LinkButton, OpenDialog, SubmitButton, Unsaved};
pub use callout::Callout;
pub use card::{Card, Checklist, Disclosure, Fact, Facts, Step};
pub use checks::{CheckItem, CheckList};
pub use code::{CodeBlock, CopyButton, CopyField};
pub use dialog::{Dialog, DialogActions, Menu};
pub use field::{
    Checkbox, CheckboxGroup, Choice, Field, PasswordField, RadioGroup, SelectField, Switch, TextArea,
    TextField,
};
pub(crate) use field::{described_by, invalid};
pub use header::{Crumb, Notice, PageHeader};
pub use icon::Icon;
pub(crate) use passkey::passkey_button;
pub(crate) use states::request_id;
pub use states::{DeniedState, EmptyState, ErrorState, NotFound, error_page};
pub use table::DataTable;
pub(crate) use time::civil;
pub use time::{Ago, Day, Time, absolute, relative};
#[cfg(feature = "ssr")]
pub(crate) use time::{Civil, MONTHS};

/// Optional texts are given as texts; an empty one is none.
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
