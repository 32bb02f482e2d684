//! Hides how work that was begun goes on when whoever began it gives up waiting: a publisher that
//! hangs up after the commit must not keep the event from its lanes, nor an edit from the roster.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Runs work to its end even where the caller drops it before.
pub(crate) fn to_the_end<W>(work: W) -> impl Future<Output = W::Output> + Send
where
    W: Future<Output: Send> + Send + 'static,
{
    ToTheEnd(Some(Box::pin(work)))
}

/// Work that its caller drives. Nearly all callers wait, so only what is left behind costs a task.
struct ToTheEnd<W: Future<Output: Send> + Send + 'static>(Option<Pin<Box<W>>>);

impl<W: Future<Output: Send> + Send + 'static> Future for ToTheEnd<W> {
    type Output = W::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<W::Output> {
        // Taken out while it runs: of work that ends or panics nothing may be left to go on.
        let Some(mut work) = self.0.take() else {
            return Poll::Pending;
        };
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.0 = Some(work);
        }
        polled
    }
}

impl<W: Future<Output: Send> + Send + 'static> Drop for ToTheEnd<W> {
    fn drop(&mut self) {
        // Without a runtime the process is ending, and the next start takes up what is in the store.
        if let Some(work) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    /// Counts its steps, one a second.
    async fn walk(steps: u32, walked: Arc<AtomicU32>) -> u32 {
        for _ in 0..steps {
            walked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        steps
    }

    #[tokio::test(start_paused = true)]
    async fn work_goes_on_where_its_caller_does_not_wait_and_is_done_once() {
        let walked = Arc::new(AtomicU32::new(0));
        assert_eq!(to_the_end(walk(3, Arc::clone(&walked))).await, 3);
        assert_eq!(walked.load(Ordering::Relaxed), 3);

        let waiting = to_the_end(walk(5, Arc::clone(&walked)));
        let given_up = timeout(Duration::from_millis(1500), waiting).await;
        assert!(given_up.is_err());
        assert_eq!(walked.load(Ordering::Relaxed), 3 + 2);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(walked.load(Ordering::Relaxed), 3 + 5);
    }

    #[tokio::test]
    async fn a_panic_is_the_callers_and_ends_the_work() {
        let walked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&walked);
        let caller = tokio::spawn(to_the_end(async move {
            counted.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
            panic!("on the way");
        }));
        let panic = caller.await.unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref(), Some(&"on the way"));
        assert_eq!(Arc::strong_count(&walked), 1, "nothing is left of the work");
    }

    #[test]
    fn without_a_runtime_the_work_is_let_go() {
        let walked = Arc::new(AtomicU32::new(0));
        drop(to_the_end(walk(1, Arc::clone(&walked))));
        assert_eq!(Arc::strong_count(&walked), 1);
    }
}
