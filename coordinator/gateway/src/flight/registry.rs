//! A bounded map whose entries expire when they are not used. No clock, no locks: callers pass the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Where no more entries fit, those that were not used for this long make room: most clients that go away do not say so.
pub(crate) const SPARED: Duration = Duration::from_secs(5 * 60);

/// Entries by key.
pub(crate) struct Registry<T> {
    capacity: usize,
    slots: HashMap<String, Slot<T>>,
}

struct Slot<T> {
    value: T,
    touched: Instant,
}

/// The registry holds as many entries as it may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl<T> Registry<T> {
    /// Holds at most `capacity` entries.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, slots: HashMap::new() }
    }

    pub(crate) fn insert(&mut self, key: String, value: T, now: Instant) -> Result<(), Full> {
        if self.is_full() {
            return Err(Full);
        }
        self.slots.insert(key, Slot { value, touched: now });
        Ok(())
    }

    /// The entry, counted as used now.
    pub(crate) fn get(&mut self, key: &str, now: Instant) -> Option<&T> {
        self.slots.get_mut(key).map(|slot| {
            slot.touched = now;
            &slot.value
        })
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<T> {
        self.slots.remove(key).map(|slot| slot.value)
    }

    /// Takes out what was not used for its time to live; `None` keeps an entry. Returned so that the caller drops it
    /// outside of any lock.
    pub(crate) fn expire(&mut self, now: Instant, time_to_live: impl Fn(&T) -> Option<Duration>) -> Vec<T> {
        self.slots
            .extract_if(|_, slot| {
                time_to_live(&slot.value).is_some_and(|ttl| now.saturating_duration_since(slot.touched) >= ttl)
            })
            .map(|(_, slot)| slot.value)
            .collect()
    }

    /// Takes out the entry that was not used for longest, among those that were not used for the time that `spare` tells;
    /// `None` keeps an entry.
    pub(crate) fn evict(&mut self, now: Instant, spare: impl Fn(&T) -> Option<Duration>) -> Option<T> {
        let may_leave = |slot: &Slot<T>| {
            spare(&slot.value).is_some_and(|least| now.saturating_duration_since(slot.touched) >= least)
        };
        let oldest =
            self.slots.iter().filter(|(_, slot)| may_leave(slot)).min_by_key(|(_, slot)| slot.touched)?.0.clone();
        self.remove(&oldest)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.slots.len() >= self.capacity
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_entry_expires_when_it_was_not_used_for_its_time() {
        let start = Instant::now();
        let mut registry = Registry::new(2);
        registry.insert("a".into(), 1, start).unwrap();
        registry.insert("b".into(), 2, start).unwrap();
        assert_eq!(registry.get("b", start + MINUTE / 2), Some(&2));
        assert_eq!(registry.expire(start + MINUTE, |_| Some(MINUTE)), [1]);
        assert_eq!(registry.expire(start + 10 * MINUTE, |_| None), [0; 0]);
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn a_full_registry_refuses_until_one_leaves() {
        let start = Instant::now();
        let mut registry = Registry::new(2);
        registry.insert("a".into(), 1, start).unwrap();
        registry.insert("b".into(), 2, start + MINUTE).unwrap();
        assert_eq!(registry.insert("c".into(), 3, start), Err(Full));
        let later = start + 2 * MINUTE;
        assert_eq!(registry.evict(later, |n| (*n > 1).then_some(Duration::ZERO)), Some(2));
        assert_eq!(registry.evict(later, |n| (*n > 1).then_some(Duration::ZERO)), None);
        assert_eq!(registry.insert("c".into(), 3, later), Ok(()));
        assert_eq!(registry.evict(later, |n| Some(if *n == 1 { 3 * MINUTE } else { MINUTE })), None);
        assert_eq!(registry.evict(later, |_| Some(MINUTE)), Some(1));
        assert_eq!(registry.evict(later, |_| Some(MINUTE)), None);
    }
}
