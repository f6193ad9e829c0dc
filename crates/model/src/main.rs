//! Prints the vocabulary of Sluice: the lifecycle as Mermaid, the problem catalogue, and the JSON
//! Schema of the wire types. Documents are made from it, so they cannot drift from the code.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use sluice_model::{lifecycle, problem, topic};
use std::process::ExitCode;
use utoipa::PartialSchema as _;

const USAGE: &str = "usage: sluice-model lifecycle | problems | schema";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["lifecycle"] => println!("{}", lifecycle::mermaid()),
        ["problems"] => print_problems(),
        ["schema"] => print_schema(),
        ["--help" | "-h"] => println!("{USAGE}"),
        _ => {
            println!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

fn print_problems() {
    println!("| status | code | title |\n|---|---|---|");
    for code in problem::CODES {
        println!(
            "| {} | `{}` | {} |",
            code.status(),
            code.as_str(),
            code.title()
        );
    }
}

fn print_schema() {
    let schemas = serde_json::json!({
        "Topic": topic::Topic::schema(),
        "Routes": topic::Routes::schema(),
        "Request": sluice_model::request::Request::schema(),
        "Subscription": sluice_model::subscription::Subscription::schema(),
        "Record": sluice_model::record::Record::schema(),
        "Heartbeat": sluice_model::producer::Heartbeat::schema(),
        "Consumer": sluice_model::consumer::Consumer::schema(),
        "Problem": problem::Problem::schema(),
    });
    println!("{schemas:#}");
}
