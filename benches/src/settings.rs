//! How much is measured.

/// How many rounds, and how long each.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub rounds: usize,
    /// Once and short: to see that it works.
    pub brief: bool,
}

impl Settings {
    pub fn full() -> Settings {
        Settings {
            rounds: 9,
            brief: false,
        }
    }

    pub fn brief() -> Settings {
        Settings {
            rounds: 1,
            brief: true,
        }
    }

    /// So many, or as few when it is brief.
    pub fn many(&self, full: usize, brief: usize) -> usize {
        match self.brief {
            false => full,
            true => brief,
        }
    }
}
