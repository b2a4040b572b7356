//! Which worker should read which tablet. Pure.

use tarn_proto::TabletId;
use url::Url;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A task may have this share of an even split, in percent, before its tablets go to their next choice.
const SKEW_PERCENT: u64 = 125;

/// How much `worker` wants what `seed` stands for: rendezvous hashing, the greatest draw wins.
fn draw(worker: &Url, seed: u64) -> u64 {
    xxh3_64_with_seed(worker.as_str().as_bytes(), seed)
}

/// A worker for each of `tasks`: those that win the draw for `name`, more than once if there are too few, none if there
/// are none.
pub(super) fn choose<'a>(workers: &'a [Url], name: &str, tasks: usize) -> Vec<Option<&'a Url>> {
    let seed = xxh3_64_with_seed(name.as_bytes(), 0);
    let mut ranked: Vec<&Url> = workers.iter().collect();
    ranked.sort_by_key(|worker| std::cmp::Reverse(draw(worker, seed)));
    (0..tasks).map(|task| ranked.get(task % ranked.len().max(1)).copied()).collect()
}

/// Splits tablets, given with their sizes, among tasks at `homes`: positions of the tablets of each task.
pub(super) fn split(tablets: &[(TabletId, u64)], homes: &[Option<&Url>]) -> Vec<Vec<usize>> {
    let mut groups = vec![Vec::new(); homes.len()];
    let mut loads = vec![0u64; homes.len()];
    // A tablet without data still costs a little, and an even count is the best guess without sizes.
    let weight = |index: usize| tablets[index].1.max(1);
    let total: u64 = (0..tablets.len()).map(weight).sum();
    let bound = (total * SKEW_PERCENT / 100).div_ceil(homes.len().max(1) as u64);
    let mut order: Vec<usize> = (0..tablets.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(weight(*index)), tablets[*index].0));
    for index in order {
        let mut ranked: Vec<usize> = (0..homes.len()).collect();
        let seed = tablets[index].0.get();
        ranked.sort_by_key(|task| std::cmp::Reverse(homes[*task].map(|worker| draw(worker, seed))));
        let fits = ranked.iter().find(|task| loads[**task] + weight(index) <= bound);
        let Some(task) = fits.or_else(|| ranked.iter().min_by_key(|task| loads[**task])) else { continue };
        loads[*task] += weight(index);
        groups[*task].push(index);
    }
    for group in &mut groups {
        group.sort_unstable();
    }
    groups
}

/// A worker for each task: the one it wants if that is there, else the one with the fewest tasks, by the draw of the
/// task's number. Empty without workers.
pub(super) fn route(wanted: &[Option<&Url>], workers: &[Url]) -> Vec<Url> {
    let mut loads = vec![0usize; workers.len()];
    let mut routes: Vec<Option<usize>> = wanted
        .iter()
        .map(|want| {
            let position = workers.iter().position(|worker| Some(worker) == *want)?;
            loads[position] += 1;
            Some(position)
        })
        .collect();
    for (task, route) in routes.iter_mut().enumerate().filter(|(_, route)| route.is_none()) {
        let least = (0..workers.len()).min_by_key(|w| (loads[*w], std::cmp::Reverse(draw(&workers[*w], task as u64))));
        if let Some(least) = least {
            loads[least] += 1;
            *route = Some(least);
        }
    }
    routes.into_iter().flatten().map(|position| workers[position].clone()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn workers(count: usize) -> Vec<Url> {
        (0..count).map(|i| format!("http://10.0.0.{i}:9400").parse().unwrap()).collect()
    }

    proptest! {
        #[test]
        fn every_tablet_is_in_one_group(sizes in prop::collection::vec(0u64..1000, 0..60), count in 1usize..8) {
            let workers = workers(count);
            let tablets: Vec<_> = sizes.iter().enumerate().map(|(i, size)| (TabletId(i as u64), *size)).collect();
            let groups = split(&tablets, &workers.iter().map(Some).collect::<Vec<_>>());
            let mut all = groups.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..tablets.len()).collect::<Vec<_>>());
        }

        #[test]
        fn equal_tablets_are_spread_within_the_bound(count in 1usize..8, tablets in 1u64..200) {
            let workers = workers(count);
            let tablets: Vec<_> = (0..tablets).map(|i| (TabletId(i), 100)).collect();
            let groups = split(&tablets, &workers.iter().map(Some).collect::<Vec<_>>());
            let most = groups.iter().map(Vec::len).max().unwrap();
            prop_assert!(most <= (tablets.len() * 125).div_ceil(100 * count) + 1);
        }
    }

    #[test]
    fn a_new_worker_takes_tablets_and_moves_no_others() {
        let (before, after) = (workers(4), workers(5));
        let tablets: Vec<_> = (0..400).map(|i| (TabletId(i), 1)).collect();
        let owner = |workers: &[Url]| -> Vec<Url> {
            let groups = split(&tablets, &workers.iter().map(Some).collect::<Vec<_>>());
            let mut owners = vec![workers[0].clone(); tablets.len()];
            for (worker, group) in groups.iter().enumerate() {
                for tablet in group {
                    owners[*tablet] = workers[worker].clone();
                }
            }
            owners
        };
        let moved = owner(&before).iter().zip(owner(&after)).filter(|(b, a)| **b != *a).count();
        assert!(moved < 160, "{moved} of 400 tablets moved");
    }

    #[test]
    fn a_task_goes_home_and_the_homeless_are_spread() {
        let workers = workers(3);
        let gone: Url = "http://10.0.0.9:9400".parse().unwrap();
        let routes = route(&[Some(&workers[2]), Some(&gone), None], &workers);
        assert_eq!(routes[0], workers[2]);
        assert_ne!(routes[1], routes[2]);
        assert!(!routes[1..].contains(&workers[2]));
        assert!(route(&[None], &[]).is_empty());
    }
}
