//! Work that is done many at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

/// Does it for every number below `count`, so many at a time. The first failure ends it.
pub(super) async fn each<Fut>(
    concurrency: usize,
    count: usize,
    work: impl Fn(usize) -> Fut + Send + Sync + 'static,
) -> Result<()>
where
    Fut: Future<Output = Result<()>> + Send,
{
    let (next, work) = (Arc::new(AtomicUsize::new(0)), Arc::new(work));
    let mut workers: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..concurrency.min(count) {
        let (next, work) = (Arc::clone(&next), Arc::clone(&work));
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(());
                }
                work(number).await?;
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done.context("a worker panicked")??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use anyhow::bail;

    use super::each;

    #[tokio::test]
    async fn each_number_is_worked_on_once() {
        let sum = Arc::new(AtomicUsize::new(0));
        let total = Arc::clone(&sum);
        each(7, 100, move |number| {
            let sum = Arc::clone(&total);
            async move {
                tokio::task::yield_now().await;
                sum.fetch_add(number, Ordering::Relaxed);
                Ok(())
            }
        })
        .await
        .unwrap();
        assert_eq!(sum.load(Ordering::Relaxed), 4950);
        let fails = each(7, 100, async |number| if number == 50 { bail!("no") } else { Ok(()) }).await;
        assert_eq!(fails.unwrap_err().to_string(), "no");
    }
}
