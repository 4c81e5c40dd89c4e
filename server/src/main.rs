//! The command `gatehouse`. Everything is in the library, so that tests can reach it.

use std::process::ExitCode;

use clap::Parser as _;

/// A tenth of what a call takes of a processor was glibc's allocator (docs/decisions/0009-the-path-of-a-call.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = server::cli::Arguments::parse();
    match server::cli::run(arguments) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("gatehouse: {message}");
            ExitCode::FAILURE
        }
    }
}
