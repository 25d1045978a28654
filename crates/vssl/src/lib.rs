//! Self-supervised learning of image encoders: methods, training, evaluation.
