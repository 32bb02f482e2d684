//! Hides what goes wrong outside, and when.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hickory_proto::op::ResponseCode;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use vk_tests::{
    Etc, Names, Ports, Random, Reads, Serves, Sink, SmallDisk, Space, TempDir, resolv_conf,
};

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The log's reader stops, or goes; a log on the disk goes with it.
    Log,
    /// Name servers are silent, gone, or one of them answers with errors; resolv.conf changes.
    Dns,
    /// There are only a few local ports.
    Ports,
    /// The disk is full.
    Disk,
}

const ALL: [(&str, Kind); 4] = [
    ("log", Kind::Log),
    ("dns", Kind::Dns),
    ("ports", Kind::Ports),
    ("disk", Kind::Disk),
];

impl Kind {
    /// Those that are asked for, all where nothing is said.
    ///
    /// # Errors
    /// Where one is unknown.
    pub(crate) fn chosen() -> Result<Vec<Self>> {
        let Ok(asked) = std::env::var("VK_OUTSIDE_TROUBLES") else {
            return Ok(ALL.map(|(_, kind)| kind).to_vec());
        };
        let find = |name: &str| {
            let found = ALL.iter().find(|(known, _)| *known == name);
            let kind = found.map(|(_, kind)| *kind);
            kind.with_context(|| {
                format!("VK_OUTSIDE_TROUBLES is a list of log, dns, ports, disk, not {name:?}")
            })
        };
        asked.split(',').map(find).collect()
    }

    /// How long one lasts at most. While the disk is full nothing is acknowledged, so that there is nothing to lose.
    fn longest(self, lasts: Duration) -> Duration {
        match self {
            Self::Disk => longest(lasts) / 2,
            Self::Log | Self::Dns | Self::Ports => longest(lasts),
        }
    }
}

/// What the service lives in.
pub(crate) struct World {
    /// Where its log goes.
    pub(crate) log: Sink,
    disk: SmallDisk,
    ports: Ports,
    /// The two that resolv.conf names, and one that it names after a change.
    names: [Names; 3],
    etc: Etc,
    _folder: TempDir,
}

impl World {
    /// One in which all is well.
    ///
    /// # Errors
    /// Where the system does not let us.
    pub(crate) async fn make(space: &Space, disk: SmallDisk, log: Sink) -> Result<Self> {
        let folder = TempDir::new()?;
        let etc = space.own_etc(folder.path())?;
        let at = |host: u8| SocketAddr::from(([127, 0, 0, host], 53));
        let world = Self {
            log,
            disk,
            ports: space.ports(),
            names: [
                Names::start(at(53)).await?,
                Names::start(at(54)).await?,
                Names::start(at(55)).await?,
            ],
            etc,
            _folder: folder,
        };
        world.ask(&[0, 1])?;
        Ok(world)
    }

    /// Writes these name servers into resolv.conf.
    fn ask(&self, servers: &[usize]) -> Result<()> {
        let servers: Vec<&Names> = servers.iter().map(|number| &self.names[*number]).collect();
        let text = resolv_conf(&servers);
        self.etc.write("resolv.conf", &text)
    }

    async fn names_serve(&self, servers: &[usize], serves: Serves) -> Result<()> {
        for number in servers {
            self.names[*number].serve(serves).await?;
        }
        Ok(())
    }

    /// Lets something of this kind go wrong; what.
    async fn begin(&self, kind: Kind, random: &mut Random) -> Result<&'static str> {
        let error = |random: &mut Random| {
            let codes = [ResponseCode::ServFail, ResponseCode::Refused];
            Serves::Error(codes[random.below(codes.len())])
        };
        Ok(match (kind, random.below(5)) {
            (Kind::Log, 0..3) => {
                self.log.read(Reads::Nothing);
                "the log's reader reads nothing"
            }
            (Kind::Log, _) => {
                self.log.read(Reads::Gone);
                "the log's reader is gone"
            }
            (Kind::Ports, few) => {
                self.ports.only(u16::try_from(few + 1)?)?;
                "there are few ports"
            }
            (Kind::Disk, _) => {
                self.disk.take_room()?;
                "the disk is full"
            }
            (Kind::Dns, 0) => {
                self.names_serve(&[0, 1], Serves::Nothing).await?;
                "both name servers are silent"
            }
            (Kind::Dns, 1) => {
                self.names_serve(&[0, 1], Serves::Closed).await?;
                "both name servers are gone"
            }
            (Kind::Dns, 2) => {
                self.names_serve(&[0], error(random)).await?;
                self.names_serve(&[1], Serves::After(Duration::from_millis(20)))
                    .await?;
                "the first name server answers with an error"
            }
            (Kind::Dns, 3) => {
                self.names_serve(&[1], error(random)).await?;
                self.names_serve(&[0], Serves::After(Duration::from_millis(20)))
                    .await?;
                "the second name server answers with an error"
            }
            (Kind::Dns, _) => {
                self.ask(&[2])?;
                self.names_serve(&[0, 1], Serves::Nothing).await?;
                "resolv.conf names another server, and those before are silent"
            }
        })
    }

    /// Sets all of this kind right.
    async fn end(&self, kind: Kind) -> Result<()> {
        match kind {
            Kind::Log => {
                self.log.read(Reads::Well);
                Ok(())
            }
            Kind::Ports => self.ports.usual(),
            Kind::Disk => self.disk.give_room(),
            Kind::Dns => {
                self.names_serve(&[0, 1], Serves::WELL).await?;
                self.ask(&[0, 1])
            }
        }
    }
}

/// Troubles under way: those of one kind one after the other, those of different kinds as it comes.
pub(crate) struct Troubles {
    world: Arc<World>,
    over: Arc<AtomicBool>,
    told: Arc<Mutex<BTreeMap<&'static str, (u32, Duration)>>>,
    tasks: JoinSet<Result<()>>,
}

/// For how long there may be no trouble of a kind, and how long one lasts at most.
fn longest(lasts: Duration) -> Duration {
    (lasts / 6).clamp(Duration::from_secs(3), Duration::from_secs(75))
}

/// How often it is looked whether all is over.
const LOOKS: Duration = Duration::from_millis(100);

impl Troubles {
    /// Lets them begin.
    pub(crate) fn begin(world: World, kinds: &[Kind], seed: u64, lasts: Duration) -> Self {
        let (world, over) = (Arc::new(world), Arc::<AtomicBool>::default());
        let told = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let mut tasks = JoinSet::new();
        for kind in kinds.iter().copied() {
            let mut random = Random::new(seed.wrapping_mul(31).wrapping_add(kind as u64));
            let (world, over, told) = (Arc::clone(&world), Arc::clone(&over), Arc::clone(&told));
            tasks.spawn(async move {
                let wait = async |random: &mut Random, most: Duration| {
                    let millis = random.below(usize::try_from(most.as_millis()).unwrap_or(1));
                    let end = Instant::now() + Duration::from_millis(200 + millis as u64);
                    while Instant::now() < end && !over.load(Ordering::Relaxed) {
                        sleep(LOOKS).await;
                    }
                };
                while !over.load(Ordering::Relaxed) {
                    wait(&mut random, longest(lasts)).await;
                    let what = world.begin(kind, &mut random).await?;
                    let begun = Instant::now();
                    wait(&mut random, kind.longest(lasts)).await;
                    world.end(kind).await?;
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    let (count, lasted) = told.entry(what).or_default();
                    *count += 1;
                    *lasted += begun.elapsed();
                }
                Ok(())
            });
        }
        Self {
            world,
            over,
            told,
            tasks,
        }
    }

    /// Sets all right; the world, and what has gone wrong in it.
    ///
    /// # Errors
    /// Where something could not be done to it.
    pub(crate) async fn end(mut self) -> Result<(Arc<World>, String)> {
        self.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_empty() {
            bail!("nothing has gone wrong");
        }
        let lines = told.iter().map(|(what, (count, lasted))| {
            format!("{count} times {what}, for {lasted:.1?} in all")
        });
        Ok((
            Arc::clone(&self.world),
            lines.collect::<Vec<_>>().join("\n"),
        ))
    }
}
