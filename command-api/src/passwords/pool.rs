use std::collections::TryReserveError;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use argon2::Block;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// The buffers that hashes are computed in, kept from one hash to the next: fresh memory costs a page fault every
/// 4 KiB, a fifth of the time of a hash. Whoever hashes holds one, so there are never more hashes than buffers.
pub(super) struct Pool {
    /// Those at rest. The last one returned is lent first: memory that was never needed is never touched.
    buffers: Mutex<Vec<Vec<Block>>>,
    /// One for each buffer, given out in the order of asking.
    permits: Arc<Semaphore>,
    /// The size of each, in blocks of 1 KiB.
    blocks: usize,
    /// How many there are.
    count: u32,
    /// The work computed in them so far, in KiB of memory times passes.
    pub(super) work: std::sync::atomic::AtomicU64,
}

/// A buffer on loan. It goes back when this is dropped, also by a panic or by a runtime that ends.
pub(super) struct Loan {
    buffer: Vec<Block>,
    pub(super) pool: Arc<Pool>,
    /// Given up after the buffer went back: fields are dropped after `drop`.
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    /// A pool of `count` buffers of `blocks` KiB each. The memory is reserved, but not touched before it is needed.
    pub(super) fn new(count: u32, blocks: usize) -> Result<Self, TryReserveError> {
        let buffer = |_| {
            let mut buffer = Vec::new();
            buffer.try_reserve_exact(blocks).map(|()| buffer)
        };
        let buffers = (0..count).map(buffer).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            permits: Arc::new(Semaphore::new(buffers.len())),
            buffers: Mutex::new(buffers),
            blocks,
            count,
            work: std::sync::atomic::AtomicU64::new(0),
        })
    }

    /// How many buffers are at rest.
    pub(super) fn at_rest(&self) -> usize {
        self.buffers().len()
    }

    /// Waits for a buffer. Whoever stops waiting has taken none.
    pub(super) async fn lend(self: Arc<Self>) -> Result<Loan, AcquireError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await?;
        let buffer = self.buffers().pop().unwrap_or_default();
        Ok(Loan { buffer, pool: self, _permit: permit })
    }

    /// Waits for all buffers.
    pub(super) async fn lend_all(self: Arc<Self>) -> Result<Vec<Loan>, AcquireError> {
        let mut permits = Arc::clone(&self.permits).acquire_many_owned(self.count).await?;
        let buffers = mem::take(&mut *self.buffers());
        let lend = |buffer| {
            let permit = permits.split(1)?;
            Some(Loan { buffer, pool: Arc::clone(&self), _permit: permit })
        };
        Ok(buffers.into_iter().filter_map(lend).collect())
    }

    /// A panic leaves the list as sound as it was: it is only pushed to and popped from.
    fn buffers(&self) -> MutexGuard<'_, Vec<Vec<Block>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loan {
    /// The blocks, all of them there; the first call touches every page.
    pub(super) fn blocks(&mut self) -> &mut [Block] {
        self.buffer.resize(self.pool.blocks, Block::default());
        &mut self.buffer
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let buffer = mem::take(&mut self.buffer);
        self.pool.buffers().push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::Pool;

    #[tokio::test]
    async fn who_asked_first_is_served_first() {
        let pool = Arc::new(Pool::new(1, 8).unwrap());
        let held = Arc::clone(&pool).lend().await.unwrap();
        let served = Arc::new(Mutex::new(Vec::new()));
        let serve = |number| {
            let (pool, served) = (Arc::clone(&pool), Arc::clone(&served));
            async move {
                let _loan = pool.lend().await.unwrap();
                served.lock().unwrap().push(number);
            }
        };
        let asking: Vec<_> = (0..8).map(|number| tokio::spawn(serve(number))).collect();
        // They have asked by the time that somebody who asks after them is served.
        tokio::task::yield_now().await;
        drop(held);
        serve(8).await;
        assert_eq!(*served.lock().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        for task in asking {
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_buffer_is_reserved_at_once_touched_when_needed_and_kept() {
        let pool = Arc::new(Pool::new(1, 64).unwrap());
        let mut loan = Arc::clone(&pool).lend().await.unwrap();
        assert_eq!((loan.buffer.capacity(), loan.buffer.len()), (64, 0));
        let address = loan.blocks().as_ptr();
        drop(loan);
        let mut loan = Arc::clone(&pool).lend().await.unwrap();
        assert_eq!((loan.buffer.len(), loan.blocks().as_ptr()), (64, address));
    }

    #[test]
    fn memory_that_is_not_to_be_had_is_refused() {
        assert!(Pool::new(1, usize::MAX).is_err());
    }

    #[tokio::test]
    async fn a_panic_gives_the_buffer_back() {
        let pool = Arc::new(Pool::new(1, 8).unwrap());
        let loan = Arc::clone(&pool).lend().await.unwrap();
        let panicked = tokio::task::spawn_blocking(move || {
            let _loan = loan;
            panic!("on purpose");
        });
        assert!(panicked.await.unwrap_err().is_panic());
        assert_eq!(pool.at_rest(), 1);
    }
}
