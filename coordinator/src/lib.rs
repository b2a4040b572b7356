//! The coordinator role: sessions, actors, reconcilers, start and stop.
