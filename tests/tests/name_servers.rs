//! Name servers that are silent, gone, or answer with errors are this service's own trouble as long as another one
//! knows, or all know again soon: no attempt is spent on it, and no endpoint is blamed.
//!
//! The service reads `/etc/resolv.conf` here, as it does in production; its network, and that file, are its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hickory_proto::op::ResponseCode;
use local_receiver::Receiver;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;
use vk_tests::{
    Answer, Api, Arrival, Etc, Names, QUERY, Serves, Service, Setup, Space, TempDir, apart,
    eventually_within, member_removed, resolv_conf,
};

/// How far away a good name server is.
const NEAR: Duration = Duration::from_millis(20);
/// A busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(90);
/// After so long no answer from before is kept any more: the name servers here say one second.
const FORGOTTEN: Duration = Duration::from_millis(1500);

/// The service with the name servers of its `resolv.conf` and a receiver of any name below `example.com`, which ends
/// each connection with its answer. What comes later goes first when it is dropped.
struct House {
    service: Service,
    names: Vec<Names>,
    etc: Etc,
    port: u16,
    _receiver: Receiver,
    _setup: Setup,
    _folder: TempDir,
}

impl House {
    /// With three name servers, the first so many of which are in `resolv.conf`.
    async fn open(space: &Space, asked: usize, options: &[&str]) -> Result<Self> {
        let folder = TempDir::new()?;
        let etc = space.own_etc(folder.path())?;
        let mut names = vec![];
        for host in 1..=3 {
            names.push(Names::start(SocketAddr::from(([127, 0, 0, host], 53))).await?);
        }
        etc.write(
            "resolv.conf",
            &resolv_conf(&names.iter().take(asked).collect::<Vec<_>>()),
        )?;
        let setup = Setup::new()?;
        let tls = setup.authority.server_config(&["*.example.com"])?;
        let closes =
            |_: Arrival| std::future::ready(Answer::status(200).with_header("connection", "close"));
        let receiver = Receiver::start(0, Some(tls), closes).await?;
        let service = setup.start(options).await?;
        Ok(Self {
            service,
            names,
            etc,
            port: receiver.address().port(),
            _receiver: receiver,
            _setup: setup,
            _folder: folder,
        })
    }

    async fn endpoint(&self, team: &Api, host: &str) -> Result<String> {
        let url = format!("https://{host}:{}/hooks?{QUERY}", self.port);
        Ok(team.endpoint(&url, &[]).await?.id)
    }

    /// Sees that so many deliveries were made, each at its first attempt, and that no endpoint was blamed.
    async fn nobody_was_blamed(&self, team: &Api, deliveries: usize) -> Result<()> {
        let made = team.deliveries("").await?;
        ensure!(made.len() == deliveries, "{} deliveries", made.len());
        for delivery in made {
            let id = delivery["id"].as_str().context("an id")?;
            let delivery = team.delivery(id).await?;
            let attempts = delivery["attempts"].as_array().into_iter().flatten();
            let failed = attempts
                .filter(|attempt| !attempt["reason"].is_null())
                .count();
            ensure!(
                delivery["status"] == "delivered" && failed == 0,
                "{delivery:#}"
            );
        }
        let endpoints = team.get("/v1/webhook-endpoints?per_page=100").await?;
        for endpoint in endpoints.data().as_array().into_iter().flatten() {
            let (status, failures) = (&endpoint["status"], &endpoint["consecutiveFailures"]);
            ensure!(status == "healthy" && failures == 0, "{endpoint}");
        }
        let log = self.service.log();
        ensure!(!log.contains("is unhealthy"), "{log}");
        Ok(())
    }
}

/// Waits until nothing is owed to the team's endpoints any more.
async fn nothing_owed(team: &Api) {
    eventually_within(PATIENCE, "nothing is owed any more", async || {
        team.owes_nothing().await.ok()?.then_some(())
    })
    .await;
}

async fn publish(team: &Api, count: usize) -> Result<()> {
    let event = json!({"type": "team.member_removed", "data": member_removed()});
    let batch = json!({"events": vec![event; count]});
    team.call("POST", "/v1/events/batch", &batch, 202).await?;
    Ok(())
}

/// A router's resolver, or an expired secondary, beside a good one: in either order, whatever the error.
#[test]
fn one_name_server_that_answers_with_an_error_does_not_decide() -> Result<()> {
    apart(async |space| {
        let house = House::open(space, 2, &[]).await?;
        let team = house.service.team("acme").await?;
        let mut endpoints = 0;
        for code in [
            ResponseCode::ServFail,
            ResponseCode::Refused,
            ResponseCode::NotImp,
            ResponseCode::FormErr,
        ] {
            for (bad, good) in [(0, 1), (1, 0)] {
                house.names[bad].serve(Serves::Error(code)).await?;
                house.names[good].serve(Serves::After(NEAR)).await?;
                // A name that nobody has asked for yet.
                house
                    .endpoint(&team, &format!("n{endpoints}.example.com"))
                    .await?;
                endpoints += 1;
                sleep(FORGOTTEN).await;
                publish(&team, 1).await?;
                nothing_owed(&team).await;
            }
        }
        // The first event went to one endpoint, the last to all.
        house.nobody_was_blamed(&team, (1..=endpoints).sum()).await
    })
}

/// Takes all name servers away for longer than all attempts of a delivery together may take, and brings them back.
async fn away(space: &Space, how: Serves) -> Result<()> {
    const EVENTS: usize = 20;
    let short = ["--retry-schedule", "200ms,200ms,200ms,200ms,200ms"];
    let house = House::open(
        space,
        2,
        &[&short[..], &["--attempt-timeout", "2s"]].concat(),
    )
    .await?;
    let team = house.service.team("acme").await?;
    house.endpoint(&team, "a.example.com").await?;
    house.endpoint(&team, "b.example.com").await?;
    sleep(FORGOTTEN).await;
    for names in &house.names {
        names.serve(how).await?;
    }
    publish(&team, EVENTS).await?;
    sleep(Duration::from_secs(15)).await;
    for names in &house.names {
        names.serve(Serves::WELL).await?;
    }
    nothing_owed(&team).await;
    house.nobody_was_blamed(&team, 2 * EVENTS).await
}

#[test]
fn name_servers_that_are_silent_for_longer_than_all_retries_cost_nothing() -> Result<()> {
    apart(async |space| away(space, Serves::Nothing).await)
}

#[test]
fn name_servers_that_are_gone_for_longer_than_all_retries_cost_nothing() -> Result<()> {
    apart(async |space| away(space, Serves::Closed).await)
}

/// As after a change of networks: those from before are gone for good.
#[test]
fn name_servers_that_change_while_it_runs_are_noticed() -> Result<()> {
    apart(async |space| {
        let house = House::open(space, 2, &[]).await?;
        let team = house.service.team("acme").await?;
        house.endpoint(&team, "a.example.com").await?;
        publish(&team, 1).await?;
        nothing_owed(&team).await;
        sleep(FORGOTTEN).await;
        house.names[0].serve(Serves::Closed).await?;
        house.names[1].serve(Serves::Nothing).await?;
        house
            .etc
            .write("resolv.conf", &resolv_conf(&[&house.names[2]]))?;
        publish(&team, 5).await?;
        nothing_owed(&team).await;
        house.nobody_was_blamed(&team, 6).await?;
        let log = house.service.log();
        ensure!(
            log.contains("resolv.conf"),
            "the change is not in the log: {log}"
        );
        Ok(())
    })
}

/// A name that does not exist is the endpoint's own trouble, also where a server that is asked after it fails.
#[test]
fn a_name_that_does_not_exist_is_still_the_endpoints_trouble() -> Result<()> {
    apart(async |space| {
        let house = House::open(space, 2, &["--retry-schedule", "100ms"]).await?;
        house.names[1]
            .serve(Serves::Error(ResponseCode::ServFail))
            .await?;
        let team = house.service.team("acme").await?;
        house.endpoint(&team, "gone.nowhere").await?;
        publish(&team, 1).await?;
        nothing_owed(&team).await;
        let delivery = team.deliveries("").await?.pop().context("a delivery")?;
        ensure!(delivery["status"] == "dead_letter", "{delivery}");
        let delivery = team
            .delivery(delivery["id"].as_str().context("an id")?)
            .await?;
        let attempts = delivery["attempts"].as_array().context("attempts")?;
        let reasons: Vec<&Value> = attempts.iter().map(|attempt| &attempt["reason"]).collect();
        ensure!(reasons == ["dns_not_found", "dns_not_found"], "{reasons:?}");
        Ok(())
    })
}

const TEAMS: usize = 40;
const ENDPOINTS_OF_A_TEAM: usize = 10;
/// As many queries dnsmasq takes at once unless it is told otherwise (`--dns-forward-max`).
const AT_ONCE: usize = 150;

/// As at a restart, through a dnsmasq.
#[test]
fn four_hundred_names_at_once_are_not_too_many_for_a_name_server_that_takes_150() -> Result<()> {
    apart(async |space| {
        let house = House::open(space, 1, &[]).await?;
        let mut teams = vec![];
        for team in 0..TEAMS {
            let api = house.service.team(&format!("team{team}")).await?;
            for endpoint in 0..ENDPOINTS_OF_A_TEAM {
                house
                    .endpoint(&api, &format!("n{team}-{endpoint}.example.com"))
                    .await?;
            }
            teams.push(api);
        }
        sleep(FORGOTTEN).await;
        let few = Serves::AtMost(AT_ONCE, 15 * NEAR);
        house.names[0].serve(few).await?;
        let mut published = JoinSet::new();
        for team in teams.clone() {
            published.spawn(async move { publish(&team, 1).await });
        }
        published
            .join_all()
            .await
            .into_iter()
            .collect::<Result<()>>()?;
        for team in &teams {
            nothing_owed(team).await;
            house.nobody_was_blamed(team, ENDPOINTS_OF_A_TEAM).await?;
        }
        println!(
            "figure: {} of {} queries were refused",
            house.names[0].refused(),
            house.names[0].queries()
        );
        Ok(())
    })
}
