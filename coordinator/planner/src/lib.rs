//! Statements and a catalog snapshot to distributed physical plans.
