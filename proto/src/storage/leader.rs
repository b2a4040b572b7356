//! In which term the leader leads that makes a call.

use tonic::metadata::MetadataMap;

use crate::Term;

/// Header with the term.
const HEADER: &str = "tarn-leader-term";

/// Says in a call's metadata that the leader of a term makes it.
pub(super) fn mark(term: Term, metadata: &mut MetadataMap) {
    metadata.insert(HEADER, term.get().into());
}

/// The term whose leader makes a call, if a leader makes it.
pub fn leader_of(metadata: &MetadataMap) -> Option<Term> {
    metadata.get(HEADER)?.to_str().ok()?.parse().ok().map(Term)
}
