//! The engine against its disk: damage, failed writes, kills.

mod damage;
mod failed_writes;
mod fixture;
mod kill;
mod throughput;
