//! Batches of views, prefetched by worker threads.
