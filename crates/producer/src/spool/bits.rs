//! One bit for each record of a block.

/// A set of record indices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// No bit set, of `len`.
    pub fn new(len: usize) -> Self {
        Self {
            words: vec![0; len.div_ceil(64)],
        }
    }

    /// From stored words.
    pub fn from_words(words: Vec<u64>) -> Self {
        Self { words }
    }

    /// The words, for storing.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Whether a bit is set.
    pub fn get(&self, index: u32) -> bool {
        let word = self
            .words
            .get(index as usize / 64)
            .copied()
            .unwrap_or_default();
        word >> (index % 64) & 1 == 1
    }

    /// Sets a bit; tells whether it was clear.
    pub fn set(&mut self, index: u32) -> bool {
        let Some(word) = self.words.get_mut(index as usize / 64) else {
            return false;
        };
        let mask = 1 << (index % 64);
        let clear = *word & mask == 0;
        *word |= mask;
        clear
    }

    /// Bits that are set.
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }
}
