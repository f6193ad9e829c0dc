//! The `sluice-producer` daemon, and the tools for its spool.

use std::process::ExitCode;

fn main() -> ExitCode {
    match sluice_producer::tools::run() {
        Some(code) => code,
        None => sluice_service::main(sluice_producer::IDENTITY, sluice_producer::threads::run),
    }
}
