use leptos::prelude::*;
use leptos_router::{LazyRoute, lazy_route};

use super::{
    api::{
        BeginTwoFactor, ConfirmIdentity, ConfirmTwoFactor, Factors, LoadFactors, MakeBackupCodes, RemovePin,
        SetPin, TurnOffTwoFactor,
    },
    pin, two_factor,
};
use crate::{
    form::{FormCore, use_form},
    page::{Loaded, load_by, page, query_param},
};

/// Second factor, or PIN.
pub struct FactorsPage {
    factors: Loaded<Factors>,
}

#[lazy_route]
impl LazyRoute for FactorsPage {
    fn data() -> Self {
        Self { factors: load_by("what", |what| LoadFactors { what }) }
    }

    fn view(this: Self) -> AnyView {
        let forms = two_factor::Forms {
            confirm_you: use_form::<ConfirmIdentity>(),
            begin: use_form::<BeginTwoFactor>(),
            confirm: use_form::<ConfirmTwoFactor>(),
            codes: use_form::<MakeBackupCodes>(),
            off: use_form::<TurnOffTwoFactor>(),
        };
        let pins = pin::Forms {
            confirm_you: forms.confirm_you,
            set: use_form::<SetPin>(),
            remove: use_form::<RemovePin>(),
        };
        // The proof grew too old meanwhile: load again, and the page asks for a new one.
        let factors = this.factors;
        let needing: [FormCore; 5] = [
            forms.begin.into(),
            forms.confirm.into(),
            forms.codes.into(),
            pins.set.into(),
            pins.remove.into(),
        ];
        Effect::new(move |_| {
            let is_old = |form: &FormCore| {
                form.error().with(|error| error.as_ref().is_some_and(|error| error.code == "reauth_required"))
            };
            // All are asked, so that each is listened to.
            if needing.iter().filter(|form| is_old(form)).count() > 0 {
                factors.refetch();
            }
        });
        let next = query_param("next");
        page(this.factors, move |factors, _| match factors {
            Factors::TwoFactor(status) => two_factor::view(&forms, status, next.get_untracked()),
            Factors::Pin(status) => pin::view(&pins, status),
        })
    }
}
