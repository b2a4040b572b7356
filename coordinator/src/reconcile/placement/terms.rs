//! What a table, or a colocation group, asks of the locations of its nodes.

use tarn_catalog::{Catalog, ColocationGroup, Locations, Table};

use super::sites::Site;

/// Where replicas of a tablet are meant to be.
pub(super) struct Terms {
    locations: Locations,
    /// Whether each is to be at a location of its own: there are enough.
    pub apart: bool,
}

impl Terms {
    pub(super) fn of_table(catalog: &Catalog, table: &Table) -> Self {
        let locations = table.locations();
        Self { apart: catalog.stand_apart(&locations, table.replication), locations }
    }

    pub(super) fn of_group(catalog: &Catalog, group: &ColocationGroup) -> Self {
        let locations = Locations::Every;
        Self { apart: catalog.stand_apart(&locations, group.replication), locations }
    }

    /// Whether replicas of a tablet had better stand apart, as far as they can.
    pub(super) const fn spread(&self) -> bool {
        self.locations.spread()
    }

    /// Whether replicas are meant for the node.
    pub(super) fn allow(&self, site: &Site) -> bool {
        self.locations.allow(site.location.as_deref())
    }
}
