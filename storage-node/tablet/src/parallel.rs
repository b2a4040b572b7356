//! Work on several tablets at once.

use std::thread;

use parking_lot::Mutex;

/// Does `work` for every item, on this thread and on more of this name if the machine has them. Returns the results in
/// order of the items. Blocks.
pub(crate) fn each<T: Send, R: Send>(name: &str, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let helpers = thread::available_parallelism().map_or(1, std::num::NonZero::get).min(items.len()).saturating_sub(1);
    if helpers == 0 {
        return items.into_iter().map(work).collect();
    }
    let left = Mutex::new(items.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    let worker = || {
        loop {
            let next = left.lock().next();
            let Some((number, item)) = next else { return };
            let result = work(item);
            done.lock().push((number, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            // One that cannot be started leaves its work to the others.
            drop(thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, worker));
        }
        worker();
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_of_the_items() {
        for count in [0, 1, 2, 100] {
            let doubled = each("test", (0..count).collect(), |i: usize| 2 * i);
            assert_eq!(doubled, (0..count).map(|i| 2 * i).collect::<Vec<_>>());
        }
    }
}
