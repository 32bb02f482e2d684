//! Opens receivers that misbehave, for tests that are not written in Rust.
//!
//!     street CA_FILE SCRIPT...
//!
//! Writes the certificate of the authority to CA_FILE, then prints one line of JSON: `dns`, the name server that knows
//! the receivers, and `receivers`, the URL of each by its script's name. Ends with its standard input.

use std::collections::HashSet;
use std::io::Read;

use anyhow::{Context, Result, bail};
use vk_hostile::Street;
use vk_hostile::certificates::Authority;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let ca_file = arguments.next().context("the first argument is a file")?;
    let wanted: HashSet<String> = arguments.collect();
    let mut scripts = vk_hostile::all();
    scripts.retain(|script| wanted.contains(&script.name));
    if scripts.len() != wanted.len() {
        bail!("not all of {wanted:?} are scripts");
    }
    let authority = Authority::new()?;
    std::fs::write(&ca_file, authority.pem()).with_context(|| format!("cannot write {ca_file}"))?;
    let street = Street::open(scripts, &authority, 1.0).await?;
    // Names and URLs of ours: nothing in them needs escaping.
    let receivers = street.receivers().iter();
    let receivers = receivers.map(|one| format!("\"{}\":\"{}\"", one.script().name, one.url()));
    println!(
        "{{\"dns\":\"{}\",\"receivers\":{{{}}}}}",
        street.name_server(),
        receivers.collect::<Vec<_>>().join(",")
    );
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    end.await?.context("cannot read the standard input")?;
    Ok(())
}
