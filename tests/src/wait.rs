//! Waiting for a condition instead of for time to pass.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// What one look at a condition found.
pub enum Look<T> {
    /// It holds, and this is what was waited for.
    Done(T),
    /// Not yet; the text is what a person reads if it never comes.
    NotYet(String),
}

/// Looks again and again until the condition holds.
///
/// # Errors
///
/// After `limit`, one that names `what` was waited for and the last [`Look::NotYet`]; at once, whatever `look` fails with.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Result<Look<T>>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        match look().await? {
            Look::Done(value) => return Ok(value),
            Look::NotYet(last) if Instant::now() >= end => {
                bail!("waited {} s for {what}; the last look found: {last}", limit.as_secs())
            }
            Look::NotYet(_) => sleep(INTERVAL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Look, until};

    #[tokio::test]
    async fn what_never_comes_is_named_with_the_last_look() {
        let error = until::<()>("the tide", Duration::ZERO, async || Ok(Look::NotYet("low water".to_owned())))
            .await
            .expect_err("it never comes");
        assert_eq!(error.to_string(), "waited 0 s for the tide; the last look found: low water");
    }
}
