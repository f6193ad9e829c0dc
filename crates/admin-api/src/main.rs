//! `sluice-admin-api`: the governance service.

use std::process::ExitCode;

fn main() -> ExitCode {
    sluice_service::main(sluice_admin_api::IDENTITY, sluice_admin_api::run)
}
