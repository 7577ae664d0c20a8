//! Rounds in which the variants take turns, and what comes of them: medians of values, and of the
//! ratios of values of the same round.

use std::fmt;

/// The median of some values, with the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: &[f64]) -> Spread {
        assert!(!values.is_empty(), "something was measured");
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (middle, odd) = (sorted.len() / 2, sorted.len() % 2 == 1);
        Spread {
            median: match odd {
                true => sorted[middle],
                false => (sorted[middle - 1] + sorted[middle]) / 2.0,
            },
            min: sorted[0],
            max: sorted[sorted.len() - 1],
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", short(self.median))?;
        match self.min == self.max {
            true => Ok(()),
            false => write!(f, " ({} to {})", short(self.min), short(self.max)),
        }
    }
}

/// Three digits or so.
pub fn short(value: f64) -> String {
    match value.abs() {
        a if a >= 1000.0 || value == value.trunc() => format!("{value:.0}"),
        a if a >= 100.0 => format!("{value:.1}"),
        a if a >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// What one variant came to, a value a round.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub values: Vec<f64>,
}

impl Series {
    pub fn spread(&self) -> Spread {
        Spread::of(&self.values)
    }

    /// Of this to another, of the same rounds.
    pub fn ratio(&self, to: &Series) -> Spread {
        let pairs = self.values.iter().zip(&to.values);
        Spread::of(&pairs.map(|(this, that)| this / that).collect::<Vec<_>>())
    }
}

/// Measures each variant once in each round; a sample has `N` measures. Every other round goes
/// backwards, so that none always comes after the same one.
pub fn rounds<V: Copy + fmt::Display, const N: usize>(
    rounds: usize,
    variants: &[V],
    mut sample: impl FnMut(V) -> [f64; N],
) -> [Vec<Series>; N] {
    let mut measured = std::array::from_fn(|_| {
        let series = variants.iter().map(|variant| Series {
            name: variant.to_string(),
            values: Vec::new(),
        });
        series.collect::<Vec<_>>()
    });
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..variants.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for variant in order {
            let values = sample(variants[variant]);
            for (measure, value) in measured.iter_mut().zip(values) {
                measure[variant].values.push(value);
            }
        }
    }
    measured
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_number_is_between_the_middle_two() {
        let spread = Spread::of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.5, 1.0, 4.0));
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let mut n = 0.0;
        let [measured] = rounds(3, &["one", "two"], |variant| {
            n += 1.0;
            [if variant == "one" { n } else { n * 2.0 }]
        });
        // Rounds: one 1, two 4; two 6, one 4; one 5, two 12.
        assert_eq!(measured[0].values, [1.0, 4.0, 5.0]);
        assert_eq!(measured[1].values, [4.0, 6.0, 12.0]);
        assert_eq!(measured[1].ratio(&measured[0]).median, 2.4);
    }
}
