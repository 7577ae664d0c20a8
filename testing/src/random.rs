//! Random numbers that a seed makes come again.

/// A generator (SplitMix64) for tests, not for secrets.
pub struct Random(u64);

impl Random {
    /// The one of this seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// A length from 1 to `most`; small ones are as frequent as large ones.
    pub fn length(&mut self, most: usize) -> usize {
        let bits = usize::BITS - most.leading_zeros();
        let below = 1 << (1 + self.below(bits as usize));
        1 + self.below(most.min(below))
    }
}

fn mix(mut n: u64) -> u64 {
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// An endless stream of bytes, each known by its place in it.
#[derive(Clone, Copy)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The byte in this place.
    pub fn at(self, place: usize) -> u8 {
        let word = mix(self.0 ^ (place as u64 / 8));
        (word >> (place % 8 * 8)) as u8
    }

    /// So many from this place on.
    pub fn from(self, place: usize, len: usize) -> Vec<u8> {
        (place..place + len).map(|place| self.at(place)).collect()
    }
}
