//! Medians, percentiles, and how they are written.

use std::time::Duration;

/// The middle one of some figures.
pub(crate) fn median(figures: Vec<f64>) -> f64 {
    percentile(figures, 0.5)
}

/// The figure below which a share of them lies.
pub(crate) fn percentile(mut figures: Vec<f64>, share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let index = (figures.len() as f64 * share) as usize;
    let last = figures.len().saturating_sub(1);
    figures.get(index.min(last)).copied().unwrap_or_default()
}

/// How long things took, in milliseconds.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1000.0);
    }

    pub(crate) fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn p50(&self) -> f64 {
        percentile(self.0.clone(), 0.5)
    }

    pub(crate) fn p99(&self) -> f64 {
        percentile(self.0.clone(), 0.99)
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let worst = percentile(self.0.clone(), 1.0);
        let (p50, p99) = (self.p50(), self.p99());
        write!(f, "p50 {p50:.2}, p99 {p99:.2}, worst {worst:.2} ms")
    }
}

/// Records per second, as text.
pub(crate) fn per_second(figure: f64) -> String {
    if figure < 100_000.0 {
        format!("{figure:.0} records/s")
    } else {
        format!("{:.0} k records/s", figure / 1000.0)
    }
}
