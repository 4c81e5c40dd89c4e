//! The authorization server's wire: `/oauth/*` and its metadata documents.
//!
//! Owns: what a request to an endpoint must look like, the error that each RFC gives to each fault, the headers, and the
//! redirects. One file for each grant. Must not know: SQL, pages, what a token or a client is allowed (that is
//! `domain::oauth`), or the data plane.
