//! Hides how the generated part of the page is told from what people have written around it.

use anyhow::{Result, bail};

const BEGIN: &str = "<!-- bench: from here on written by `cargo xtask bench` -->";
const END: &str = "<!-- bench: to here -->";

/// A page that has none yet.
const NEW: &str = "\
# Performance

How fast the service is, by a benchmark that anyone can repeat, and how it came to be so.

<!-- bench: from here on written by `cargo xtask bench` -->
<!-- bench: to here -->

## What was found by profiling, what was tried, what was dropped
";

/// The page with this as its generated part; a page that is empty is begun.
pub(crate) fn replaced(page: &str, generated: &str) -> Result<String> {
    let page = if page.trim().is_empty() { NEW } else { page };
    let Some((before, rest)) = page.split_once(BEGIN) else {
        bail!("the page has no line `{BEGIN}`");
    };
    let Some((_, after)) = rest.split_once(END) else {
        bail!("the page has no line `{END}` after the part that is generated");
    };
    Ok(format!(
        "{before}{BEGIN}\n\n{}\n\n{END}{after}",
        generated.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let first = replaced("", "figures\n").unwrap();
        assert!(first.starts_with("# Performance\n"));
        assert!(first.contains("-->\n\nfigures\n\n<!--"));
        let by_hand = first + "\nFound: much.\n";
        let second = replaced(&by_hand, "others").unwrap();
        assert_eq!(second, by_hand.replace("figures", "others"));
    }

    #[test]
    fn a_page_without_markers_is_left_alone() {
        for page in ["# Mine", BEGIN, &format!("{END}\n{BEGIN}")] {
            assert!(replaced(page, "figures").is_err(), "{page}");
        }
    }
}
