//! One type for all views. (The cfg `erase_components` gives every component one; this does so for what stands inside them.)

use leptos::prelude::*;

/// For what `view!` makes. Whatever is erased costs a kilobyte for each type that it had before, and the macro's wrapper,
/// an `Option` or a list around it would each make one more type of it.
pub(crate) trait Erase {
    /// The view as [`AnyView`].
    fn erase(self) -> AnyView;
}

impl<T: IntoAny> Erase for View<T> {
    #[inline]
    fn erase(self) -> AnyView {
        self.into_inner().into_any()
    }
}
