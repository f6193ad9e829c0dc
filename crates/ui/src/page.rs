//! Rendering.

use askama::Template;

/// Renders a template. Ours write strings and numbers into a string, which cannot fail; should a
/// formatter ever do, the reader sees that the page is not whole.
pub(crate) fn render(template: &impl Template) -> String {
    template
        .render()
        .unwrap_or_else(|error| format!("This page cannot be shown: {error}"))
}
