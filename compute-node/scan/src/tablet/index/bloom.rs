//! Blocks of rows that may hold a value, by bloom indexes.

use std::collections::{BTreeMap, BTreeSet};

use roaring::RoaringBitmap;
use tarn_proto::index::bloom::{Directory, Filter, Probe, check_page};
use tarn_proto::index::value;

use super::condition::Condition;
use super::file::{IndexFile, Unusable};

/// Lists of more values are in some filter of every block, most likely.
const MAX_VALUES: usize = 64;

/// Whether a bloom index can say something about a condition.
pub(super) fn is_answerable(condition: &Condition) -> bool {
    !condition.null && condition.values().is_some_and(|values| values.len() <= MAX_VALUES)
}

/// Rows in blocks that may hold one of the values, of those that `selected` selects. `None` if the index says nothing about
/// a segment of `rows` rows and values of the condition's class, or if it would read more than `most` bytes.
pub(super) async fn rows(
    file: &IndexFile<'_>,
    condition: &Condition,
    rows: u64,
    selected: &RoaringBitmap,
    most: u64,
) -> Result<Option<RoaringBitmap>, Unusable> {
    let directory = file.directory(Directory::decode).await?;
    if directory.class != condition.class || directory.rows != rows {
        return Ok(None);
    }
    let hashes: Vec<u64> = condition.values().unwrap_or_default().into_iter().map(|v| value::hash(v)).collect();
    let is_selected = |block: &usize| {
        let rows = directory.rows_of(*block);
        selected.range_cardinality(rows.start as u32..rows.end as u32) > 0
    };
    let groups: Vec<_> = directory
        .groups()
        .map(|(filter, blocks)| (filter, blocks.filter(|block| is_selected(block)).collect::<Vec<_>>()))
        .filter(|(_, blocks)| !blocks.is_empty())
        .collect();
    let filters: Vec<Filter> = groups.iter().map(|(filter, _)| *filter).collect();
    let Some(likely) = may_hold(file, &directory, &filters, &hashes, most).await? else { return Ok(None) };
    let blocks: Vec<usize> =
        groups.into_iter().zip(likely).filter(|(_, likely)| *likely).flat_map(|((_, blocks), _)| blocks).collect();
    let filters: Vec<Filter> = blocks.iter().map(|block| directory.block(*block)).collect();
    let Some(likely) = may_hold(file, &directory, &filters, &hashes, most).await? else { return Ok(None) };
    let mut left = RoaringBitmap::new();
    for (block, _) in blocks.into_iter().zip(likely).filter(|(_, likely)| *likely) {
        let rows = directory.rows_of(block);
        left.insert_range(rows.start as u32..rows.end as u32);
    }
    Ok(Some(left))
}

/// Whether each filter may hold one of the values.
async fn may_hold(
    file: &IndexFile<'_>,
    directory: &Directory,
    filters: &[Filter],
    hashes: &[u64],
    most: u64,
) -> Result<Option<Vec<bool>>, Unusable> {
    let probes =
        |filter: &Filter| -> Vec<Probe> { hashes.iter().filter_map(|hash| directory.probe(*filter, *hash)).collect() };
    let probes: Vec<Vec<Probe>> = filters.iter().map(probes).collect();
    let numbers: BTreeSet<u64> = probes.iter().flatten().map(|probe| probe.page).collect();
    let ranges: Vec<_> = numbers.iter().map(|number| directory.page(*number)).collect();
    if ranges.iter().map(|range| range.end - range.start).sum::<u64>() > most {
        return Ok(None);
    }
    let read = file.read(&ranges).await?;
    let mut pages = BTreeMap::new();
    for (number, bytes) in numbers.iter().zip(&read) {
        pages.insert(*number, check_page(bytes)?);
    }
    let mut answers = Vec::with_capacity(filters.len());
    for probes in probes {
        let mut likely = false;
        for probe in probes {
            likely |= probe.may_hold(pages[&probe.page])?;
        }
        answers.push(likely);
    }
    Ok(Some(answers))
}
