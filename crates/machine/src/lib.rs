//! What tests do to the machine under the service, by system calls alone: no program has to be installed for it.
//!
//! Rooms: `mounts` mounts file systems and takes them away, `space` gives a thread a network and mounts of its
//! own, `memory` limits memory by a control group. `xtask` tries each of them before the first test begins.

mod memory;
mod mounts;
mod space;

pub use memory::MemoryLimit;
pub use mounts::{bind, free, make_read_only, remount, tmpfs, unmount, used};
pub use space::{Etc, Ports, Space};
