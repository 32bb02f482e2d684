//! Hides how figures become a page with charts.
//!
//! Rooms: `text` is the part of the page that is generated, `tables` its tables, [`machine`] what it
//! was measured on, `page` how it replaces the part from before, `charts` what is drawn with `svg`.

mod charts;
mod machine;
mod page;
mod svg;
mod tables;
mod text;

use std::path::Path;

use anyhow::{Context, Result};

use crate::figures::Figures;

pub(crate) use machine::Machine;
pub(crate) use text::{Settings, generated};

/// Writes the generated part into the page, and the charts into the folder beside it.
pub(crate) fn write(page: &Path, generated: &str, figures: &Figures) -> Result<()> {
    let cannot = || format!("cannot write {}", page.display());
    let before = std::fs::read_to_string(page).unwrap_or_default();
    let after = page::replaced(&before, generated)?;
    let folder = page.with_extension("");
    std::fs::create_dir_all(&folder).with_context(cannot)?;
    for (name, svg) in charts::all(figures) {
        std::fs::write(folder.join(name), svg).with_context(cannot)?;
    }
    std::fs::write(page, after).with_context(cannot)
}
