//! Hides how long the service takes to show a page of a log with millions of deliveries.

use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use super::full::Full;
use crate::api::{Api, text};
use crate::house::House;
use crate::seed::{RARE_TYPE, TEAMS};
use crate::stats::Spread;

/// How often each page is asked for, after once to warm up.
const ASKS: usize = 5;
/// What the path of every page of the delivery log begins with.
const LOG: &str = "/v1/deliveries?";
const STATUSES: [&str; 6] = [
    "pending",
    "retrying",
    "held",
    "delivered",
    "dead_letter",
    "canceled",
];

/// How long one page took, in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct PageTime {
    /// What was asked for.
    pub(crate) name: String,
    /// Whether it is a page of the delivery log, rather than something beside it.
    pub(crate) of_the_log: bool,
    pub(crate) median_ms: f64,
    pub(crate) worst_ms: f64,
}

/// What the filters are filled in with.
struct Values {
    endpoint: String,
    event: String,
    delivery: String,
    event_type: String,
    since: String,
    until: String,
    /// Of the middle of the log.
    cursor: String,
}

/// Asks for every page of the team with ten endpoints.
pub(crate) async fn measure(house: &House, full: &Full) -> Result<Vec<PageTime>> {
    let service = house.service(&full.folder).await?;
    let mut api = Api::connect(service.address()).await?;
    let [(team, ..), ..] = TEAMS;
    let values = values(&mut api, team).await?;
    let mut times = Vec::new();
    for (name, path) in paths(&values) {
        api.get(team, &path).await?;
        let mut took_ms = Vec::new();
        for _ in 0..ASKS {
            let start = Instant::now();
            api.get(team, &path).await?;
            took_ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let spread = Spread::of(took_ms).context("it was asked for")?;
        times.push(PageTime {
            name,
            of_the_log: path.starts_with(LOG),
            median_ms: spread.median,
            worst_ms: spread.max,
        });
    }
    service.stop().await?;
    Ok(times)
}

/// Values that go together, from the middle of the log: there is something behind every filter.
async fn values(api: &mut Api, team: &str) -> Result<Values> {
    let all = api.get(team, "/v1/events?per_page=1").await?;
    let total = all["meta"]["pagination"]["total"]
        .as_u64()
        .context("a total")?;
    let middle = api
        .get(team, &format!("/v1/events?per_page=1&page={}", total / 2))
        .await?;
    let event = &middle["data"][0];
    let until = text(&event["createdAt"])?;
    let before = api
        .get(team, &format!("/v1/deliveries?until={until}&per_page=1"))
        .await?;
    let cursor = text(&before["meta"]["pagination"]["nextCursor"])?;
    let delivery = &before["data"][0];
    let early = api
        .get(
            team,
            &format!("/v1/events?per_page=1&page={}", total / 3 * 2),
        )
        .await?;
    let created = |event: &Value| text(&event["createdAt"]);
    Ok(Values {
        endpoint: text(&delivery["endpointId"])?,
        event: text(&delivery["eventId"])?,
        delivery: text(&delivery["id"])?,
        event_type: text(&delivery["eventType"])?,
        since: created(&early["data"][0])?,
        until,
        cursor,
    })
}

/// Every page: its name and its path.
fn paths(values: &Values) -> Vec<(String, String)> {
    let given = |name: &str, value: &str| vec![String::new(), format!("{name}={value}&")];
    let statuses = STATUSES.iter().map(|status| format!("status={status}&"));
    let types = [values.event_type.as_str(), RARE_TYPE];
    let types = types.iter().map(|name| format!("event_type={name}&"));
    let filters: [Vec<String>; 6] = [
        given("endpoint_id", &values.endpoint),
        [String::new()].into_iter().chain(statuses).collect(),
        [String::new()].into_iter().chain(types).collect(),
        given("event_id", &values.event),
        given("since", &values.since),
        given("until", &values.until),
    ];
    let mut queries = vec![String::new()];
    for choices in &filters {
        let longer = |query: &String| {
            let longer = choices.iter().map(|choice| query.clone() + choice);
            longer.collect::<Vec<_>>()
        };
        queries = queries.iter().flat_map(longer).collect();
    }
    let mut paths = Vec::new();
    for query in &queries {
        for per_page in [20, 100] {
            let path = format!("{LOG}{query}per_page={per_page}");
            let name = name(query, per_page);
            paths.push((
                format!("{name}, later page"),
                format!("{path}&cursor={}", values.cursor),
            ));
            paths.push((name, path));
        }
    }
    paths.push(("the list of events".into(), "/v1/events".into()));
    paths.push((
        "one delivery".into(),
        format!("/v1/deliveries/{}", values.delivery),
    ));
    paths
}

/// A query's name: without the ids and times, which are another run's tomorrow.
fn name(query: &str, per_page: u32) -> String {
    let words: Vec<&str> = query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| match part.split_once('=') {
            Some((name, _)) if !["status", "event_type"].contains(&name) => name,
            _ => part,
        })
        .collect();
    match words[..] {
        [] => format!("no filter, {per_page} a page"),
        _ => format!("{}, {per_page} a page", words.join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_filters_is_asked_for() {
        let value = |text: &str| text.to_owned();
        let paths = paths(&Values {
            endpoint: value("E"),
            event: value("V"),
            delivery: value("D"),
            event_type: value("link.created"),
            since: value("S"),
            until: value("U"),
            cursor: value("C"),
        });
        assert_eq!(paths.len(), (2 * 7 * 3 * 2 * 2 * 2) * 2 * 2 + 2);
        let (name, path) = &paths[paths.len() - 4];
        assert_eq!(
            name,
            "endpoint_id status=canceled event_type=team.member_removed event_id since until, \
             100 a page, later page"
        );
        assert_eq!(
            path,
            "/v1/deliveries?endpoint_id=E&status=canceled&event_type=team.member_removed&\
             event_id=V&since=S&until=U&per_page=100&cursor=C"
        );
        assert_eq!(paths[1].0, "no filter, 20 a page");
    }
}
