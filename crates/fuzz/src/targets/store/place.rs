//! Hides where a store lives, and how its process ends: by closing, by being dropped, or by dying.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use model::audit::Actor;
use model::endpoint::{Secret, Secrets, Subscription};
use model::id::{EndpointId, TeamId};
use store::{Keyring, SqliteOptions, Store};

use super::plain::at;

/// What the store's secrets are sealed with: the base64 of 32 bytes.
const SEALING_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
/// What of a store outlives its process.
const FILES: [&str; 2] = ["store.db", "store.db-wal"];

/// A store with a team and its endpoints, in a folder of its own.
pub(super) struct Place {
    /// There is always one but while the next is opened.
    store: Option<Store>,
    pub(super) team: TeamId,
    pub(super) endpoints: [EndpointId; 3],
    folder: Folder,
}

/// A store as it is when it begins, which takes a while to make.
struct Beginning {
    database: Vec<u8>,
    team: TeamId,
    endpoints: [EndpointId; 3],
}

impl Place {
    pub(super) async fn new() -> Self {
        static BEGINNING: OnceLock<Beginning> = OnceLock::new();
        let beginning = match BEGINNING.get() {
            Some(beginning) => beginning,
            None => {
                let made = Beginning::make().await;
                BEGINNING.get_or_init(|| made)
            }
        };
        let folder = Folder::new();
        std::fs::write(folder.file(FILES[0]), &beginning.database).expect("a file can be written");
        Self {
            store: Some(open(&folder).await),
            team: beginning.team,
            endpoints: beginning.endpoints,
            folder,
        }
    }

    pub(super) fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open")
    }

    /// The next process takes the store up, after this one has closed it or only stopped using it.
    pub(super) async fn reopen(&mut self, closes: bool) {
        if closes {
            self.store().close().await;
        }
        // Its writer holds the file until it has come to its end, and opening waits for that.
        drop(self.store.take());
        self.store = Some(open(&self.folder).await);
    }

    /// The process dies: the next one finds the files as they are at this moment.
    pub(super) async fn crash(&mut self) {
        let next = Folder::new();
        for name in FILES {
            let from = self.folder.file(name);
            if from.exists() {
                std::fs::copy(from, next.file(name)).expect("a file can be copied");
            }
        }
        self.store = Some(open(&next).await);
        self.folder = next;
    }
}

impl Beginning {
    async fn make() -> Self {
        let folder = Folder::new();
        let store = open(&folder).await;
        let hand = || store.by(Actor::Operator);
        let (name, plan) = ("A team".into(), "scale".into());
        let team = hand()
            .create_team(Some("acme".into()), name, plan, at(0))
            .await;
        let team = team.expect("the store works").expect("its id is free").id;
        let mut endpoints = [EndpointId(0); 3];
        for endpoint in &mut endpoints {
            let secrets = Secrets::new(Secret::from_text("whsec_secret"));
            let url = "https://receiver.example.com/".into();
            let made =
                hand().create_endpoint(team, url, None, Subscription::All, secrets, 10, at(0));
            *endpoint = made.await.expect("the store works").id;
        }
        store.close().await;
        let database = std::fs::read(folder.file(FILES[0])).expect("it was written");
        Self {
            database,
            team,
            endpoints,
        }
    }
}

async fn open(folder: &Folder) -> Store {
    let keyring = Keyring::parse(SEALING_KEY).expect("a key");
    let options = SqliteOptions {
        path: folder.file(FILES[0]),
    };
    let store = Store::open_sqlite(options, keyring).await;
    store.unwrap_or_else(|error| panic!("the store does not open: {error}"))
}

/// A folder in memory, where there is such a place: what outlives a cut of the power is another test's.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let memory = Path::new("/dev/shm");
        let parent = match memory.is_dir() {
            true => memory.to_path_buf(),
            false => std::env::temp_dir(),
        };
        // One folder for all of this process, so that what a crash leaves behind is easily removed.
        let own = parent.join(format!("vk-fuzz-{}", std::process::id()));
        let path = own.join(number.to_string());
        std::fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind is litter, not a broken rule.
        let _ = std::fs::remove_dir_all(&self.0);
        // The last one takes the process's own folder with it; before that it is not empty.
        let _ = self.0.parent().map(std::fs::remove_dir);
    }
}
