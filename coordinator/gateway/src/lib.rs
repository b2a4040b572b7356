//! The protocols clients arrive with: Flight SQL and HTTP. What a statement does is behind [`engine::Engine`].

pub mod engine;
