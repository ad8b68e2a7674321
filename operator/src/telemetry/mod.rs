//! What the running process tells about itself: counters, and whether it is alive and ready.

mod labels;
mod metrics;
mod probes;

pub use metrics::{Activation, Gauges, Metrics, Succession};
pub use probes::serve;
