//! What the end-to-end tests, the demo and the benchmarks stand on: a real Kubernetes control plane on this machine, and the
//! programs that run against it.
//!
//! - [`assets`] finds or builds etcd, kube-apiserver and the controllers;
//! - [`control_plane`] runs them, each as a process that can be killed alone;
//! - [`cluster`] is the way to that cluster, or to one that somebody has already;
//! - [`installation`] installs Fleetform there and runs operator and simulator with their own tokens;
//! - [`tools`] finds or fetches kubectl and helm;
//! - [`process`] runs any other program under supervision;
//! - [`namespace`] gives tests names that never meet;
//! - [`wait`] waits for a condition, with a limit and a reason;
//! - [`at_least_once`] holds what happened against the events that a sink holds;
//! - [`api_write`] says what a request to the API server writes.
//!
//! # Guarantees
//!
//! Nothing outlives what started it: every process is killed when its handle is dropped, and the control plane's own
//! processes, the operator and the simulator also when the process that started them dies without dropping anything.

pub mod api_write;
pub mod assets;
pub mod at_least_once;
mod cache;
pub mod cluster;
pub mod control_plane;
mod go;
pub mod http;
pub mod installation;
pub mod namespace;
pub mod process;
mod progress;
pub mod stand_ins;
pub mod tools;
pub mod version;
pub mod wait;

pub use cluster::Cluster;
pub use control_plane::{Component, ControlPlane};
pub use installation::Installation;
pub use process::{Process, ProcessSpec};
