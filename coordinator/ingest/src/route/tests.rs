//! Routing against brute force.
