//! Large float buffers that return to their loader when they are dropped. The page faults of fresh
//! buffers would cost half as much as making 224-pixel views.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// Normalised pixels, `[n, size, size, 3]`: a slice of floats. When it is dropped, its loader uses
/// the memory again.
pub struct Pixels {
    values: Vec<f32>,
    pool: Weak<Pool>,
}

impl Pixels {
    /// The values as a vector; their memory does not return to the loader.
    pub fn into_vec(mut self) -> Vec<f32> {
        std::mem::take(&mut self.values)
    }

    /// Returns the values, and the way back for their memory: what is called with them gives them to the loader,
    /// if it still works.
    pub fn into_parts(mut self) -> (Vec<f32>, impl FnOnce(Vec<f32>) + Send + Sync) {
        let pool = std::mem::take(&mut self.pool);
        let give_back = move |values| drop(Self { values, pool });
        (std::mem::take(&mut self.values), give_back)
    }

    pub(super) fn values_mut(&mut self) -> &mut Vec<f32> {
        &mut self.values
    }
}

impl Deref for Pixels {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl PartialEq for Pixels {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl fmt::Debug for Pixels {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "Pixels({} values)", self.values.len())
    }
}

impl Drop for Pixels {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade().filter(|_| self.values.capacity() > 0) {
            pool.put(std::mem::take(&mut self.values));
        }
    }
}

/// Buffers that wait for their next use, at most a given number.
#[derive(Debug)]
pub(super) struct Pool {
    free: Mutex<Vec<Vec<f32>>>,
    most: usize,
}

impl Pool {
    /// A pool that keeps at most `most` buffers.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), most })
    }

    /// A buffer of `length` unspecified values.
    pub fn take(self: &Arc<Self>, length: usize) -> Pixels {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // The capacity counts, not the length: a truncated buffer can be used again.
        let fitting = free.iter().position(|values| values.capacity() == length);
        let reused = fitting.map(|position| free.swap_remove(position));
        drop(free);
        let values = reused.map_or_else(
            || vec![0.0; length],
            |mut values| {
                values.resize(length, 0.0);
                values
            },
        );
        Pixels { values, pool: Arc::downgrade(self) }
    }

    fn put(&self, values: Vec<f32>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.most {
            free.push(values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_buffer_is_used_again_and_a_kept_one_is_not() {
        let pool = Pool::new(2);
        let first = pool.take(1000);
        let address = first.as_ptr();
        drop(first);
        let mut again = pool.take(1000);
        assert_eq!(again.as_ptr(), address);
        again.values_mut().truncate(10);
        drop(again);
        let again = pool.take(1000);
        assert_eq!((again.as_ptr(), again.len()), (address, 1000));
        let (lent, give_back) = again.into_parts();
        give_back(lent);
        let again = pool.take(1000);
        assert_eq!(again.as_ptr(), address);
        let kept = again.into_vec();
        assert_ne!(pool.take(1000).as_ptr(), kept.as_ptr());
        assert_eq!(pool.take(999).len(), 999);
    }

    #[test]
    fn pool_keeps_no_more_than_it_may_and_may_go_first() {
        let pool = Pool::new(2);
        let all = [0; 5].map(|_| pool.take(8));
        drop(all);
        assert_eq!(pool.free.lock().unwrap().len(), 2);
        let last = pool.take(8);
        drop(pool);
        assert_eq!(last.len(), 8);
    }
}
