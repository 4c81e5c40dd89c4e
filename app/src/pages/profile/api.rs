//! Server functions of these pages.
