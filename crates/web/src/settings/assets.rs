//! Hides how the style, the script and the icon are served: out of the binary, under names that change with
//! what is in them, so that browsers keep them.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use sha2::{Digest, Sha256};

use super::rooms::Rooms;

const STYLE: &str = include_str!("../../assets/style.css");
const SCRIPT: &str = include_str!("../../assets/script.js");
const ICON: &str = include_str!("../../assets/icon.svg");

pub(super) fn rooms() -> Rooms {
    Rooms::default()
        .get("/settings/style.css", async || asset("text/css", STYLE))
        .get("/settings/script.js", async || {
            asset("text/javascript", SCRIPT)
        })
        .get("/settings/icon.svg", async || asset("image/svg+xml", ICON))
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, format!("{kind}; charset=utf-8")),
        (CACHE_CONTROL, "public, max-age=31536000, immutable".into()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
    ];
    (headers, text).into_response()
}

fn path(name: &str, text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let version: String = hash
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("/settings/{name}?v={version}")
}

pub(super) fn style_path() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| path("style.css", STYLE));
    &PATH
}

pub(super) fn script_path() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| path("script.js", SCRIPT));
    &PATH
}

pub(super) fn icon_path() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| path("icon.svg", ICON));
    &PATH
}
