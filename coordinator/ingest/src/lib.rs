//! Transactions and the tablet sink.
