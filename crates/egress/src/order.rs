//! Hides in which order an endpoint's addresses are connected to, and how several are tried at once.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::connect::{Dialer, Duplex};
use crate::tries::Tries;
use crate::vet::Vetted;

/// How long an address is tried alone before the next joins it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);
/// How long an address that failed stands behind those that did not.
const BEHIND: Duration = Duration::from_secs(60);
/// How many addresses one connect tries at most.
const TRIED_MAX: usize = 6;
/// How many failed addresses of an endpoint are remembered. More than a name usually has.
const REMEMBERED_MAX: usize = 64;

/// What is known of an endpoint's addresses. It only puts addresses in order: which there are is
/// resolved and vetted for each connection.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// When an address failed last: it did not connect, or it did and then no response came.
    failed: HashMap<IpAddr, Instant>,
    /// Whether the last response came by IPv6.
    v6_worked: bool,
}

impl Order {
    pub(crate) fn failed(&mut self, address: IpAddr) {
        let now = Instant::now();
        self.failed
            .retain(|_, since| now.duration_since(*since) < BEHIND);
        if self.failed.len() < REMEMBERED_MAX {
            self.failed.insert(address, now);
        }
    }

    pub(crate) fn worked(&mut self, address: IpAddr) {
        self.failed.remove(&address);
        self.v6_worked = address.is_ipv6();
    }

    /// Puts `targets` in order: those that did not fail lately before those that did, the one that failed
    /// last at the end; among those that did not, the families alternate (RFC 8305, section 4).
    ///
    /// The family that worked last begins. Where none has, it is IPv4, unlike in the RFC: a receiver whose
    /// IPv6 is broken is more frequent than one without IPv4, and nobody waits for a page here.
    pub(crate) fn arrange(&self, targets: &[Vetted]) -> Vec<Vetted> {
        let now = Instant::now();
        let since = |target: &Vetted| {
            let since = *self.failed.get(&target.address().ip())?;
            (now.duration_since(since) < BEHIND).then_some(since)
        };
        let (mut behind, ahead): (Vec<Vetted>, Vec<Vetted>) =
            targets.iter().partition(|target| since(target).is_some());
        let (first, second): (Vec<Vetted>, Vec<Vetted>) = ahead
            .into_iter()
            .partition(|target| target.address().is_ipv6() == self.v6_worked);
        behind.sort_by_key(since);
        let longest = first.len().max(second.len());
        (0..longest)
            .flat_map(|at| [first.get(at).copied(), second.get(at).copied()])
            .flatten()
            .chain(behind)
            .take(TRIED_MAX)
            .collect()
    }
}

/// Connects to the first of `targets` that answers: a new try every quarter of a second, or as soon as
/// one failed. Runs until one has connected, or all have failed: the caller's deadline ends it otherwise.
/// What was tried without success is left in `tries`.
pub(crate) async fn connect(
    dialer: &dyn Dialer,
    targets: &[Vetted],
    tries: &mut Tries,
) -> Option<(Box<dyn Duplex>, SocketAddr)> {
    let mut waiting = targets.iter();
    let mut trying = FuturesUnordered::new();
    loop {
        if let Some(target) = waiting.next() {
            let address = target.address();
            let number = tries.begin(address);
            trying.push(async move { (number, dialer.dial(address).await) });
        } else if trying.is_empty() {
            return None;
        }
        let more_wait = waiting.len() > 0;
        tokio::select! {
            Some((number, result)) = trying.next() => match result {
                Ok(connected) => return Some((connected, tries.won(number)?)),
                Err(error) => tries.failed(number, error),
            },
            () = tokio::time::sleep(STAGGER), if more_wait => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::DuplexStream;

    use super::*;
    use crate::exchange::BoxFuture;
    use crate::policy::Policy;
    use crate::vet::vet;

    const ALL: [&str; 4] = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"];

    fn targets(of: &[&str]) -> Vec<Vetted> {
        let policy = Policy {
            allow: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            allow_http: false,
        };
        let answer: Vec<IpAddr> = of.iter().map(|text| text.parse().unwrap()).collect();
        vet(&answer, 443, false, &policy).unwrap()
    }

    fn arranged(order: &Order) -> Vec<String> {
        let arranged = order.arrange(&targets(&ALL));
        let texts = arranged.iter().map(|one| one.address().ip().to_string());
        texts.collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_tried_last_and_the_family_that_worked_first() {
        let [a4, b4, a6, b6] = ALL;
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut order = Order::default();
        assert_eq!(arranged(&order), [a4, a6, b4, b6]);
        order.worked(address(b6));
        assert_eq!(arranged(&order), [a6, a4, b6, b4]);
        order.failed(address(a6));
        assert_eq!(arranged(&order), [b6, a4, b4, a6]);
        tokio::time::advance(Duration::from_secs(30)).await;
        order.failed(address(b6));
        assert_eq!(arranged(&order), [a4, b4, a6, b6]);
        tokio::time::advance(Duration::from_secs(1)).await;
        // It failed again, so that it is tried last of all.
        order.failed(address(a6));
        assert_eq!(arranged(&order), [a4, b4, b6, a6]);
        tokio::time::advance(Duration::from_secs(58)).await;
        assert_eq!(arranged(&order), [a4, b4, b6, a6]);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(
            arranged(&order),
            [a6, a4, b6, b4],
            "after a while all is as before"
        );
        order.failed(address(a4));
        order.worked(address(a4));
        assert_eq!(arranged(&order), [a4, a6, b4, b6], "a response clears it");
        for n in 0..2000 {
            order.failed(std::net::Ipv4Addr::from_bits(n).into());
        }
        assert_eq!(order.failed.len(), REMEMBERED_MAX);
    }

    /// A network in which an address refuses at once, or connects after some time.
    struct Network(Vec<(IpAddr, Option<Duration>)>);

    impl crate::connect::Duplex for DuplexStream {
        fn reset_when_dropped(&self) {}
    }

    impl Dialer for Network {
        fn dial(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Duplex>>> {
            let known = self.0.iter().find(|(ip, _)| *ip == address.ip());
            let after = known.and_then(|(_, after)| *after);
            Box::pin(async move {
                tokio::time::sleep(after.ok_or(io::ErrorKind::ConnectionRefused)?).await;
                Ok(Box::new(tokio::io::duplex(64).0) as Box<dyn Duplex>)
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_race_a_quarter_of_a_second_apart_and_a_refusal_hands_on_at_once() {
        let millis = |n| Some(Duration::from_millis(n));
        for (first, second, wins, after, without) in [
            (millis(100), millis(10), 0, 100, 0),
            (millis(240), millis(10), 0, 240, 0),
            (millis(9000), millis(10), 1, 260, 1),
            (millis(300), millis(100), 0, 300, 1),
            (None, millis(10), 1, 10, 1),
        ] {
            let both = targets(&ALL[..2]);
            let ip = |n: usize| both[n].address().ip();
            let network = Network(vec![(ip(0), first), (ip(1), second)]);
            let (begun, mut tries) = (Instant::now(), Tries::default());
            let (_, won) = connect(&network, &both, &mut tries).await.unwrap();
            let context = format!("{first:?} {second:?}");
            assert_eq!(won.ip(), ip(wins), "{context}");
            assert_eq!(begun.elapsed(), Duration::from_millis(after), "{context}");
            assert_eq!(tries.addresses().count(), without, "{context}");
        }
        let (network, mut tries) = (Network(vec![]), Tries::default());
        assert!(
            connect(&network, &targets(&ALL), &mut tries)
                .await
                .is_none()
        );
        assert_eq!(tries.addresses().count(), 4);
    }
}
