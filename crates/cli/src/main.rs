//! `sluice`: the command line of Sluice, for people and scripts.
//!
//! [`args`] says what can be asked, [`context`] where the services are and with which token,
//! `commands` and `shell` do it, [`output`] writes answers and [`failure`] the errors and exit codes.
//!
//! Invariants: it speaks HTTP only; answers go to standard output, everything else to standard
//! error; it never asks anything when nobody sits at a terminal.

mod args;
mod commands;
mod context;
mod failure;
mod http;
mod output;
mod printer;
mod secret;
mod shell;
mod sse;
mod stream;
mod text;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    match commands::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
