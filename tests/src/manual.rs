//! Hides how the blocks of docs/operating.md are found and fitted to a machine of tests.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// The line of its fence.
    pub line: usize,
    /// What stands after its fence, such as `sh`.
    pub language: String,
    /// What is in it.
    pub text: String,
}

/// All blocks of docs/operating.md, in order.
///
/// # Errors
/// Where the page cannot be read, or a block does not end.
pub fn operating_blocks() -> Result<Vec<Block>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let text = std::fs::read_to_string(&page).context("docs/operating.md")?;
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block {
                    line: number + 1,
                    language: language.trim().to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    ensure!(open.is_none(), "a block of docs/operating.md does not end");
    Ok(blocks)
}

impl Block {
    /// Its text, with paths, hosts and ports replaced by those of a test.
    ///
    /// # Errors
    /// Where something that is to be replaced is not there: then the page has changed, and the test has to follow.
    pub fn fitted(&self, replacements: &[(&str, &str)]) -> Result<String> {
        let mut text = self.text.clone();
        for (from, to) in replacements {
            ensure!(
                text.contains(from),
                "the block at line {} of docs/operating.md has no {from:?}",
                self.line
            );
            text = text.replace(from, to);
        }
        Ok(text)
    }
}
