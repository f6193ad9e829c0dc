//! The `sluice-producer` daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice_service::main(sluice_producer::IDENTITY, sluice_producer::threads::run)
}
