//! The order of the images: a function of (seed, epoch).
