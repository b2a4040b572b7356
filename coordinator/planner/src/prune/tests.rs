//! Pruning against brute force.
