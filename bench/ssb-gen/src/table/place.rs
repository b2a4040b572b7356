//! Where customers and suppliers are: region, nation, city, and the rest of an address.

use crate::rng::SplitMix;
use crate::words::{NATIONS, REGIONS};

/// Cities of a nation.
const CITIES: u64 = 10;
const ALPHABET: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ,";

/// A drawn place.
pub struct Place {
    nation: usize,
    city: u64,
}

impl Place {
    /// Draws one of the 250 cities.
    pub fn draw(random: &mut SplitMix) -> Self {
        Self { nation: random.below(NATIONS.len() as u64) as usize, city: random.below(CITIES) }
    }

    /// The nation's name, cut or filled to nine letters, and a digit: `UNITED KI1`, `PERU     0`.
    pub fn city(&self) -> String {
        format!("{:<9.9}{}", self.nation(), self.city)
    }

    /// The nation.
    pub fn nation(&self) -> &'static str {
        NATIONS[self.nation].0
    }

    /// The region.
    pub fn region(&self) -> &'static str {
        REGIONS[NATIONS[self.nation].1]
    }

    /// A phone number with the nation's code: `33-464-151-3439`.
    pub fn phone(&self, random: &mut SplitMix) -> String {
        let (area, exchange, number) = (random.between(100, 999), random.between(100, 999), random.between(1000, 9999));
        format!("{}-{area}-{exchange}-{number}", 10 + self.nation)
    }
}

/// 10 to 25 letters.
pub fn address(random: &mut SplitMix) -> String {
    let length = random.between(10, 25);
    (0..length).map(|_| char::from(ALPHABET[random.below(ALPHABET.len() as u64) as usize])).collect()
}
