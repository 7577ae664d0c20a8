//! A table of the report: variants with their values, ratios and goals.

use crate::measure::{Series, Spread};
use crate::peers::Stack;

pub struct Table {
    pub title: String,
    pub unit: &'static str,
    pub series: Vec<Series>,
    /// Whose values the others are put in relation to.
    pub base: Option<String>,
    pub goals: Vec<Goal>,
    /// What the goals' ratio cannot be better than here.
    pub limit: Option<Spread>,
    /// The name of its plot's file, without an ending.
    pub plot: Option<&'static str>,
}

/// What a measure should reach, and whether it does.
pub struct Goal {
    pub text: String,
    pub value: Spread,
    pub reached: bool,
}

impl Table {
    pub fn new(title: impl Into<String>, unit: &'static str, series: Vec<Series>) -> Table {
        Table {
            title: title.into(),
            unit,
            series,
            base: None,
            goals: Vec::new(),
            limit: None,
            plot: None,
        }
    }

    /// Adds the ratio to this variant as a column.
    pub fn base(mut self, name: impl ToString) -> Table {
        self.base = Some(name.to_string());
        self
    }

    pub fn plot(mut self, name: &'static str) -> Table {
        self.plot = Some(name);
        self
    }

    /// `all` is what each variant spends at both ends, and `libssl` what libssl alone does; both in
    /// the rounds of this table. Without a stack between it and the sockets it would be so much faster
    /// than the base.
    pub fn limit(mut self, all: &[Series], libssl: &[f64]) -> Table {
        let of = |name: &str| all.iter().find(|series| series.name == name);
        let plain = of(&Stack::Plain.to_string());
        let base = self.base.as_deref().and_then(of);
        if let (Some(plain), Some(base)) = (plain, base) {
            let least = plain.values.iter().zip(libssl);
            let ratios = least.zip(&base.values);
            let ratios = ratios.map(|((plain, libssl), base)| base / (plain + libssl));
            self.limit = Some(Spread::of(&ratios.collect::<Vec<_>>()));
        }
        self
    }

    /// Likewise where each end has a core. `rate` is in MiB a second, `server` and `both` are what they
    /// spend on a MiB, in microseconds. As fast as the end that takes longer: the base's client, or a
    /// server of plain TCP and half of what libssl does for both.
    pub fn limit_on_two(mut self, server: &[Series], both: &[Series], libssl: &[f64]) -> Table {
        let values = |all: &[Series], name: &str| {
            let series = all.iter().find(|series| series.name == name);
            series.map_or(Vec::new(), |series| series.values.clone())
        };
        let Some(base) = self.base.as_deref() else {
            return self;
        };
        let plain = values(server, &Stack::Plain.to_string());
        let (rate, server, both) = (
            values(&self.series, base),
            values(server, base),
            values(both, base),
        );
        let clients = both.iter().zip(&server).map(|(both, server)| both - server);
        let servers = plain.iter().zip(libssl).map(|(tcp, ssl)| tcp + ssl / 2.0);
        let least = clients.zip(servers).map(|(one, other)| one.max(other));
        let ratios: Vec<f64> = rate
            .iter()
            .zip(least)
            .map(|(rate, least)| 1e6 / rate / least)
            .collect();
        if !ratios.is_empty() {
            self.limit = Some(Spread::of(&ratios));
        }
        self
    }

    /// What this variant takes, of the base's: it does what cannot be left out, and nothing else.
    pub fn least(mut self, name: impl ToString) -> Table {
        let base = self.base.as_deref().and_then(|base| self.get(base));
        if let (Some(least), Some(base)) = (self.get(name), base) {
            self.limit = Some(least.ratio(base));
        }
        self
    }

    pub fn get(&self, name: impl ToString) -> Option<&Series> {
        let name = name.to_string();
        self.series.iter().find(|series| series.name == name)
    }

    /// A variant's median is to be this at most.
    pub fn at_most(mut self, name: impl ToString, most: f64) -> Table {
        let name = name.to_string();
        if let Some(value) = self.get(&name).map(Series::spread) {
            self.goals.push(Goal {
                text: format!("{name}: at most {most} {}", self.unit),
                value,
                reached: value.median <= most,
            });
        }
        self
    }

    /// A variant's median ratio to another is to be this at least.
    pub fn at_least_times(self, name: impl ToString, least: f64, than: impl ToString) -> Table {
        let text = format!(
            "{}: at least {least} times {}",
            name.to_string(),
            than.to_string()
        );
        self.times(name, than, text, |ratio| ratio >= least)
    }

    /// A variant's median ratio to another is to be this at most.
    pub fn at_most_times(self, name: impl ToString, most: f64, than: impl ToString) -> Table {
        let text = format!(
            "{}: at most {most} times {}",
            name.to_string(),
            than.to_string()
        );
        self.times(name, than, text, |ratio| ratio <= most)
    }

    fn times(
        mut self,
        name: impl ToString,
        than: impl ToString,
        text: String,
        reached: impl Fn(f64) -> bool,
    ) -> Table {
        if let (Some(one), Some(other)) = (self.get(name), self.get(than)) {
            let value = one.ratio(other);
            let reached = reached(value.median);
            self.goals.push(Goal {
                text,
                value,
                reached,
            });
        }
        self
    }
}
