//! What the running process tells about itself: counters, and whether it is alive and ready.

mod labels;
mod measurements;
mod metrics;
mod probes;

pub use measurements::latest_measurements;
pub use metrics::{Activation, Gauges, Metrics, Succession};
pub use probes::serve;
