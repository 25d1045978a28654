//! Large buffers of numbers that return to their loader when they are dropped. The page faults of fresh
//! buffers would cost half as much as making 224-pixel views.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::augment::Value;

/// The pixels of views: a slice of numbers, by default normalised floats, `[n, size, size, 3]`. When it is dropped,
/// its loader uses the memory again.
pub struct Pixels<T: Value = f32> {
    values: Vec<T>,
    pool: Weak<Pool<T>>,
}

impl<T: Value> Pixels<T> {
    /// The values as a vector; their memory does not return to the loader.
    pub fn into_vec(mut self) -> Vec<T> {
        std::mem::take(&mut self.values)
    }

    /// Returns the values, and the way back for their memory: what is called with them gives them to the loader,
    /// if it still works.
    pub fn into_parts(mut self) -> (Vec<T>, impl FnOnce(Vec<T>) + Send + Sync) {
        let pool = std::mem::take(&mut self.pool);
        let give_back = move |values| drop(Self { values, pool });
        (std::mem::take(&mut self.values), give_back)
    }

    pub(super) fn values_mut(&mut self) -> &mut Vec<T> {
        &mut self.values
    }
}

impl<T: Value> Deref for Pixels<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.values
    }
}

impl<T: Value + PartialEq> PartialEq for Pixels<T> {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl<T: Value> fmt::Debug for Pixels<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "Pixels({} values)", self.values.len())
    }
}

impl<T: Value> Drop for Pixels<T> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade().filter(|_| self.values.capacity() > 0) {
            pool.put(std::mem::take(&mut self.values));
        }
    }
}

/// Buffers that wait for their next use, at most a given number.
#[derive(Debug)]
pub(super) struct Pool<T: Value = f32> {
    free: Mutex<Vec<Vec<T>>>,
    most: usize,
}

impl<T: Value> Pool<T> {
    /// A pool that keeps at most `most` buffers.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { free: Mutex::default(), most })
    }

    /// A buffer of `length` unspecified values.
    pub fn take(self: &Arc<Self>, length: usize) -> Pixels<T> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // The capacity counts, not the length: a truncated buffer can be used again.
        let fitting = free.iter().position(|values| values.capacity() == length);
        let reused = fitting.map(|position| free.swap_remove(position));
        drop(free);
        let values = reused.map_or_else(
            || vec![T::default(); length],
            |mut values| {
                values.resize(length, T::default());
                values
            },
        );
        Pixels { values, pool: Arc::downgrade(self) }
    }

    fn put(&self, values: Vec<T>) {
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
        let pool = Pool::<f32>::new(2);
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
        let pool = Pool::<f32>::new(2);
        let all = [0; 5].map(|_| pool.take(8));
        drop(all);
        assert_eq!(pool.free.lock().unwrap().len(), 2);
        let last = pool.take(8);
        drop(pool);
        assert_eq!(last.len(), 8);
    }
}
