//! The connection doctor: attempts of clients to connect, and the self-test.

pub mod api;
mod page;

pub use page::DoctorPage;
