//! Pages and searches beside many topics, one client.

use super::crowd;
use crate::bench::{Bench, row};
use crate::figures::Times;
use sluice_e2e::{Outcome, ensure};
use std::time::Instant;

/// Calls of each kind.
const CALLS: usize = 500;
/// Calls before them that do not count.
const WARM: usize = 20;

pub(super) fn run(bench: &Bench) -> Outcome {
    crowd::ensure(bench)?;
    let count = bench.topics;
    let shown = list(bench, "/api/topics")?;
    report(&format!("list page of 500, {count} topics"), &shown, "10");
    let shown = list(bench, "/api/topics?limit=50&status=active")?;
    report("list page of 50 that are active", &shown, "10");
    // Each text stands in few names or descriptions, so that a search looks at all of them.
    let shown = visit(bench, |number| {
        format!("/api/topics?q=crowd_{}", number * 17 % count)
    })?;
    report("search by a part of the name", &shown, "30");
    let shown = visit(bench, |number| {
        format!("/api/topics?q=shop%20{}", number * 17 % count)
    })?;
    report("search by a part of the description", &shown, "30");
    let shown = visit(bench, |_| "/ui/topics".to_owned())?;
    report("the console's page of topics", &shown, "");
    Ok(())
}

fn report(what: &str, times: &Times, target: &str) {
    let target = if target.is_empty() {
        String::new()
    } else {
        format!("target: p99 {target} ms")
    };
    row(what, &times.to_string(), &target, None);
}

/// Walks over the pages, from the first one again after the last.
fn list(bench: &Bench, first: &str) -> Outcome<Times> {
    let mut viewer = bench.connection("viewer")?;
    let mut times = Times::default();
    let mut path = first.to_owned();
    for number in 0..WARM + CALLS {
        let began = Instant::now();
        let answer = viewer.get(&path)?.expect(200)?;
        if number >= WARM {
            times.push(began.elapsed());
        }
        path = answer.next.unwrap_or_else(|| first.to_owned());
    }
    ensure!(path.contains("cursor"), "there is more than one page");
    Ok(times)
}

fn visit(bench: &Bench, path: impl Fn(usize) -> String) -> Outcome<Times> {
    let mut viewer = bench.connection("viewer")?;
    let mut times = Times::default();
    for number in 0..WARM + CALLS {
        let path = path(number);
        let began = Instant::now();
        let answer = viewer.get(&path)?.expect(200)?;
        if number >= WARM {
            times.push(began.elapsed());
        }
        ensure!(answer.body.len() > 2, "{path} finds something");
    }
    Ok(times)
}
