//! The newest leader of the coordinators that this node has heard of.
//!
//! A coordinator that was stopped for a while believes that it leads until it hears otherwise, and what it asks for then
//! follows from the catalog of its time: a replica whose files it would remove may be back by a newer leader's will. So
//! leaders say in which term they lead, and nothing is done here in the name of an older one than has been heard. A newer
//! one waits for what is being done in the name of the one before.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tarn_proto::Term;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};
use tracing::warn;

use crate::{Error, identity};

/// The file that keeps the term, in the data directory.
const FILE: &str = "leader-term";

/// Tells leaders from those that were.
pub(crate) struct Fence {
    data: PathBuf,
    newest: Arc<RwLock<Term>>,
}

/// While it is held, no newer leader gets anything done.
pub(crate) type Entered = OwnedRwLockReadGuard<Term>;

impl Fence {
    /// With what was kept in a data directory before. Blocks.
    pub(crate) fn load(data: &Path) -> Result<Self, Error> {
        let newest = identity::read_number(data, FILE)?.unwrap_or_default();
        Ok(Self { data: data.to_owned(), newest: Arc::new(RwLock::new(Term(newest))) })
    }

    /// Lets the leader of a term in, and keeps the term, durably. Refuses with a newer one that was heard.
    pub(crate) async fn enter(&self, term: Term) -> Result<Entered, Term> {
        let newest = self.newest.clone().read_owned().await;
        match term.cmp(&newest) {
            Ordering::Less => return Err(*newest),
            Ordering::Equal => return Ok(newest),
            Ordering::Greater => drop(newest),
        }
        let mut newest = self.newest.clone().write_owned().await;
        if term > *newest {
            let data = self.data.clone();
            let kept = tokio::task::spawn_blocking(move || identity::write_number(&data, FILE, term.get())).await;
            if let Ok(Err(error)) = kept {
                // A full disk must not keep the leader from making room on it.
                warn!(%term, reason = tarn_proto::error::chain(&error), "the leader's term is forgotten at the next start");
            }
            *newest = term;
        }
        if term < *newest { Err(*newest) } else { Ok(newest.downgrade()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_older_leader_is_refused_also_after_a_restart() {
        let data = tempfile::tempdir().unwrap();
        let fence = Fence::load(data.path()).unwrap();
        drop(fence.enter(Term(3)).await.unwrap());
        drop(fence.enter(Term(3)).await.unwrap());
        assert_eq!(fence.enter(Term(2)).await.err(), Some(Term(3)));
        drop(fence.enter(Term(7)).await.unwrap());
        let fence = Fence::load(data.path()).unwrap();
        assert_eq!(fence.enter(Term(6)).await.err(), Some(Term(7)));
        std::fs::write(data.path().join(FILE), "seven").unwrap();
        assert!(matches!(Fence::load(data.path()), Err(Error::Kept { .. })));
    }

    #[tokio::test]
    async fn a_newer_leader_waits_for_what_the_older_one_has_begun() {
        let data = tempfile::tempdir().unwrap();
        let fence = Fence::load(data.path()).unwrap();
        let older = fence.enter(Term(3)).await.unwrap();
        let also = fence.enter(Term(3)).await.unwrap();
        let newer = fence.enter(Term(4));
        tokio::pin!(newer);
        assert!(futures::poll!(&mut newer).is_pending());
        drop((older, also));
        drop(newer.await.unwrap());
        assert_eq!(fence.enter(Term(3)).await.err(), Some(Term(4)));
    }
}
