//! Webhooks: where an organisation hears of events, and what became of each.

mod acts;
pub mod api;
mod deliveries;
mod detail;
mod edit;
mod list;
mod parts;

pub use deliveries::DeliveriesPage;
pub use detail::WebhookPage;
pub use edit::EditWebhookPage;
pub use list::WebhooksPage;
