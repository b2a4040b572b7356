//! The storage role: tablet actors and the storage service.
