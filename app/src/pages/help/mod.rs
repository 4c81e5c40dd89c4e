//! Built-in help. It is there for everybody, signed in or not.

mod claude_ai;
mod domain;
mod exports;
mod page;
mod webhooks;

pub use claude_ai::ClaudeAiHelpPage;
pub use page::{AuthenticationHelpPage, QuickstartPage};
pub use webhooks::WebhooksHelpPage;
