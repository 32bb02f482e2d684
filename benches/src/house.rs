//! Hides where everything of a run is: the service's binary, the one receiver, and a folder for stores.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::process::Process;
use crate::receiver::{Arrivals, Temper};
use crate::service::Service;

/// What all measurements share.
pub(crate) struct House {
    binary: PathBuf,
    folder: PathBuf,
    port: String,
    pub(crate) receiver: Process,
    /// How many stores were made.
    stores: u32,
}

impl House {
    /// Starts the receiver. What is in the folder is deleted, now and at the end.
    pub(crate) async fn open(binary: &Path, folder: &Path) -> Result<Self> {
        if folder.exists() {
            std::fs::remove_dir_all(folder)?;
        }
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let ca_file = folder.join("receiver.pem").display().to_string();
        let mut receiver = Process::mode(&["receiver", "--ca-file", &ca_file])?;
        let port = receiver.line().await?;
        Ok(Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            port,
            receiver,
            stores: 0,
        })
    }

    /// Whose certificates are to be trusted.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.folder.join("receiver.pem")
    }

    /// The receiver's port.
    pub(crate) fn port(&self) -> &str {
        &self.port
    }

    /// The receiver's URL of that temper.
    pub(crate) fn url(&self, temper: Temper) -> String {
        format!("https://127.0.0.1:{}{}", self.port, temper.path())
    }

    /// How many requests have arrived.
    pub(crate) async fn arrivals(&mut self) -> Result<Arrivals> {
        self.receiver.ask("count").await
    }

    /// A folder for a new store.
    pub(crate) fn new_store(&mut self) -> Result<PathBuf> {
        self.stores += 1;
        let folder = self.folder.join(self.stores.to_string());
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// The service over the store in this folder.
    pub(crate) async fn service(&self, store: &Path) -> Result<Service> {
        Service::start(&self.binary, store, &self.ca_file()).await
    }

    /// Deletes what the run left.
    pub(crate) fn clear(self) -> Result<()> {
        drop(self.receiver);
        Ok(std::fs::remove_dir_all(&self.folder)?)
    }
}
