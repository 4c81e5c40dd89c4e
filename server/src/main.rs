//! The command `gatehouse`. Everything is in the library, so that tests can reach it.

use std::process::ExitCode;

use clap::Parser as _;

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
