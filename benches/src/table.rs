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

    /// Where both ends have one core. `server` and `both` are what they spend, and `libssl` what
    /// libssl alone does at both ends, in the rounds of this table.
    pub fn limit(mut self, server: &[Series], both: &[Series], libssl: &[f64]) -> Table {
        let base = self.base.as_deref();
        let base = base.map_or(&[][..], |base| values(both, base));
        let ratios = base.iter().zip(least_ends(server, both, libssl));
        let ratios = ratios.map(|(base, (client, server))| base / (client + server));
        self.limit_to(&ratios.collect::<Vec<_>>());
        self
    }

    /// Likewise where each end has a core, and with the rates in MiB a second, what they spend in
    /// microseconds a MiB: it is as fast as the end that takes longer.
    pub fn limit_on_two(mut self, server: &[Series], both: &[Series], libssl: &[f64]) -> Table {
        let base = self.base.as_deref();
        let rates = base.map_or(&[][..], |base| values(&self.series, base));
        let ratios = rates.iter().zip(least_ends(server, both, libssl));
        let ratios = ratios.map(|(rate, (client, server))| 1e6 / rate / client.max(server));
        self.limit_to(&ratios.collect::<Vec<_>>());
        self
    }

    fn limit_to(&mut self, ratios: &[f64]) {
        if !ratios.is_empty() {
            self.limit = Some(Spread::of(ratios));
        }
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

fn values<'a>(all: &'a [Series], name: &str) -> &'a [f64] {
    let series = all.iter().find(|series| series.name == name);
    series.map_or(&[], |series| &series.values)
}

/// What the client and a server spend in each round if the server's stack costs nothing: the client
/// what it does on the stack where that is least, the server what it does on plain TCP, and half of
/// what libssl does for both ends.
fn least_ends(server: &[Series], both: &[Series], libssl: &[f64]) -> Vec<(f64, f64)> {
    let plain = Stack::Plain.to_string();
    let client = |round: usize| {
        let ends = both.iter().zip(server);
        let with_tls = ends.filter(|(both, _)| both.name != plain);
        let clients = with_tls.map(|(both, server)| both.values[round] - server.values[round]);
        clients.fold(f64::INFINITY, f64::min)
    };
    let servers = values(server, &plain).iter().zip(libssl);
    servers
        .enumerate()
        .map(|(round, (tcp, libssl))| (client(round), tcp + libssl / 2.0))
        .collect()
}
