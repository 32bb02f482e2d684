//! Hides what the settings page looks like.

use model::delivery::Delivery;
use model::endpoint::Endpoint;
use model::id::{Id as _, IdCodec};
use model::team::Team;
use model::time::Timestamp;
use store::Page;

use super::html::{Html, html};

/// A page that says one thing.
pub(super) fn message(title: &str, text: &str) -> Html {
    let mut page = open(title);
    html!(
        page,
        r#"<main class="card"><h1>{}</h1><p>{}</p></main>"#,
        title,
        text
    );
    close(page)
}

/// The team's endpoints and what was delivered lately.
pub(super) fn overview(
    product: &str,
    team: &Team,
    granted: u32,
    endpoints: &Page<Endpoint>,
    deliveries: &[Delivery],
    codec: &IdCodec,
) -> Html {
    let title = format!("{product} webhooks");
    let mut page = open(&title);
    html!(
        page,
        r#"<header><div><h1>{}</h1><p>{}</p></div>
<form method="post" action="/settings/sign-out"><button class="quiet">Sign out</button></form></header>
<main><section><h2>Endpoints <small>{} of {} used</small></h2>"#,
        title,
        team.name,
        endpoints.total,
        granted
    );
    endpoint_table(&mut page, &endpoints.rows);
    html!(page, "</section><section><h2>Latest deliveries</h2>");
    delivery_table(&mut page, deliveries, &endpoints.rows, codec);
    html!(page, "</section></main>");
    close(page)
}

fn endpoint_table(page: &mut Html, endpoints: &[Endpoint]) {
    if endpoints.is_empty() {
        html!(
            page,
            r#"<p class="empty">No endpoints yet. Make one with <code>POST /v1/webhook-endpoints</code>.</p>"#
        );
        return;
    }
    html!(
        page,
        r#"<div class="scroll"><table><thead><tr><th scope="col">URL</th><th scope="col">Events</th><th scope="col">Status</th><th scope="col">Last delivery</th></tr></thead><tbody>"#
    );
    for endpoint in endpoints {
        html!(page, "<tr><td><code>{}</code>", endpoint.url);
        if let Some(description) = &endpoint.description {
            html!(page, "<br><small>{}</small>", description);
        }
        let names = endpoint.subscription.names();
        let events = match names.as_slice() {
            [all] if all == "*" => "All events".to_owned(),
            names => names.join(", "),
        };
        html!(page, "</td><td>{}</td><td>", events);
        badge(page, endpoint.status().as_str());
        if let Some(reason) = endpoint.health.last_reason {
            html!(
                page,
                "<br><small>{} failed in a row: {}</small>",
                endpoint.health.consecutive_failures,
                spaced(reason.as_str())
            );
        }
        html!(page, "</td><td>");
        moment(page, endpoint.last_delivery_at);
        html!(page, "</td></tr>");
    }
    html!(page, "</tbody></table></div>");
}

fn delivery_table(
    page: &mut Html,
    deliveries: &[Delivery],
    endpoints: &[Endpoint],
    codec: &IdCodec,
) {
    if deliveries.is_empty() {
        html!(page, r#"<p class="empty">Nothing was delivered yet.</p>"#);
        return;
    }
    html!(
        page,
        r#"<div class="scroll"><table><thead><tr><th scope="col">Event</th><th scope="col">Endpoint</th><th scope="col">Status</th><th scope="col">Attempts</th><th scope="col">Created</th></tr></thead><tbody>"#
    );
    for delivery in deliveries {
        let endpoint = endpoints.iter().find(|one| one.id == delivery.endpoint);
        html!(
            page,
            "<tr><td>{}<br><small><code>{}</code></small></td><td>{}</td><td>",
            delivery.event_type,
            codec.uuid(delivery.id),
            endpoint.map_or("a deleted endpoint", |one| one.url.as_str())
        );
        badge(page, delivery.status().as_str());
        html!(
            page,
            r#"</td><td class="number">{}</td><td>"#,
            delivery.attempt_count
        );
        moment(page, Some(delivery.id.created_at()));
        html!(page, "</td></tr>");
    }
    html!(page, "</tbody></table></div>");
}

fn badge(page: &mut Html, word: &str) {
    html!(
        page,
        r#"<span class="badge {}">{}</span>"#,
        word,
        spaced(word)
    );
}

fn moment(page: &mut Html, moment: Option<Timestamp>) {
    match moment {
        Some(at) => {
            let text = at.to_string().replace('T', " ");
            let seconds = text.split('.').next().unwrap_or_default();
            html!(page, r#"<time datetime="{}">{} UTC</time>"#, at, seconds);
        }
        None => html!(page, "never"),
    }
}

/// `dead_letter` as people write it.
fn spaced(word: &str) -> String {
    word.replace('_', " ")
}

fn open(title: &str) -> Html {
    let mut page = Html::default();
    html!(
        page,
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{}</title><link rel="stylesheet" href="/settings/style.css"></head><body>
"#,
        title
    );
    page
}

fn close(mut page: Html) -> Html {
    html!(page, "\n</body></html>\n");
    page
}
