//! The table of scripts in docs/reliability.md is what the scripts say.

use vk_hostile::{Expect, Takes};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reliability.md");
const BEGIN: &str = "<!-- scripts: begin -->\n";
const END: &str = "<!-- scripts: end -->\n";

fn table() -> String {
    let mut text = String::from(
        "\n| script | the receiver | outcome | reason | status | takes |\n|---|---|---|---|---|---|\n",
    );
    for script in vk_hostile::all() {
        text.push_str(&row(&script.name, &script.says, &script.expect));
        if let Some(later) = &script.later {
            text.push_str(&row(&script.name, "the attempts after that", later));
        }
    }
    text.push('\n');
    text
}

fn row(name: &str, says: &str, expect: &Expect) -> String {
    let takes = match expect.takes {
        Takes::AtOnce => "no time".to_owned(),
        Takes::About(span) => format!("{:.1} s", span.as_secs_f64()),
        Takes::Lookup => "up to 5 s".to_owned(),
        Takes::Deadline => "10 s".to_owned(),
    };
    let reason = expect.reason.map_or("", |reason| reason.as_str());
    let status = expect.status.map(|status| status.to_string());
    format!(
        "| `{name}` | {says} | {} | {reason} | {} | {takes} |\n",
        expect.outcome.as_str(),
        status.unwrap_or_default()
    )
}

#[test]
fn the_table_of_scripts_is_what_the_scripts_say() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let wanted = table();
    if std::env::var_os("UPDATE_RELIABILITY").is_some() {
        let text = format!("{before}{BEGIN}{wanted}{END}{after}");
        std::fs::write(PAGE, text).unwrap();
        return;
    }
    assert!(
        shown == wanted,
        "docs/reliability.md is not what the scripts say; to bring it up to date run\n\
         UPDATE_RELIABILITY=1 cargo test -p vk-hostile --test page"
    );
}
