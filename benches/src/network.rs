//! The measurements that end in `docs/performance.md`: all of them, or those named.
//!
//!     network [--brief] [--rounds N] [--out FOLDER] [SCENARIO...]

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use benches::settings::Settings;
use benches::{child, machine, plots, report, scenarios};

struct Arguments {
    settings: Settings,
    out: PathBuf,
    scenarios: Vec<scenarios::Scenario>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((word, words)) if word == child::WORD => child::main(words),
        _ => arguments(words).and_then(|arguments| measure(&arguments)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(words: Vec<String>) -> io::Result<Arguments> {
    let mut arguments = Arguments {
        settings: Settings::full(),
        out: PathBuf::from("docs"),
        scenarios: Vec::new(),
    };
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--brief" => arguments.settings = Settings::brief(),
            "--rounds" => {
                let rounds = words.next().and_then(|rounds| rounds.parse().ok());
                let rounds = rounds.filter(|rounds| *rounds > 0);
                arguments.settings.rounds = rounds.ok_or_else(|| wrong("--rounds N"))?;
            }
            "--out" => arguments.out = words.next().ok_or_else(|| wrong("--out FOLDER"))?.into(),
            name => {
                let mut all = scenarios::ALL.into_iter();
                let found = all.find(|(known, _)| *known == name);
                let known = scenarios::ALL.map(|(name, _)| name).join(", ");
                let unknown = || wrong(&format!("no scenario is called {name}: there are {known}"));
                arguments.scenarios.push(found.ok_or_else(unknown)?);
            }
        }
    }
    if arguments.scenarios.is_empty() {
        arguments.scenarios = scenarios::ALL.to_vec();
    }
    Ok(arguments)
}

fn measure(arguments: &Arguments) -> io::Result<()> {
    let mut tables = Vec::new();
    for (name, run) in &arguments.scenarios {
        eprintln!("{name} ...");
        // On a thread of its own: it may pin it.
        let settings = arguments.settings;
        let run = *run;
        let ran = std::thread::spawn(move || run(&settings)).join();
        for table in ran.map_err(|_| io::Error::other(format!("{name} panicked")))?? {
            print!("{}", report::markdown(&table));
            tables.push(table);
        }
    }
    std::fs::create_dir_all(&arguments.out)?;
    for table in &tables {
        if let Some(plot) = table.plot {
            let file = arguments.out.join(plot).with_extension("svg");
            std::fs::write(file, plots::bars(table))?;
        }
    }
    let document = report::document(
        include_str!("head.md"),
        &machine::describe(),
        arguments.settings.rounds,
        &tables,
    );
    std::fs::write(arguments.out.join("performance.md"), document)?;
    let goals = tables.iter().flat_map(|table| &table.goals);
    let (reached, missed): (Vec<_>, Vec<_>) = goals.partition(|goal| goal.reached);
    eprintln!("{} goals reached, {} missed", reached.len(), missed.len());
    Ok(())
}
