//! The consumer API's binary.

use sluice_consumer_api::{IDENTITY, service, settings::Settings};
use std::process::ExitCode;

fn main() -> ExitCode {
    sluice_service::main(IDENTITY, |settings: Settings| service::run(settings))
}
