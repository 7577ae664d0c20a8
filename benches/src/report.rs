//! The tables as Markdown: `docs/performance.md`.

use std::fmt::Write;

use crate::table::Table;

/// The whole document.
pub fn document(head: &str, machine: &[String], rounds: usize, tables: &[Table]) -> String {
    let mut text = head.to_owned();
    text.push_str("\n## Measured on\n\n");
    for line in machine {
        writeln!(text, "- {line}").expect("memory");
    }
    writeln!(text, "- {rounds} rounds").expect("memory");
    text.push_str(
        "\n## Goals\n\n| measure | goal | measured | reached | limit |\n|---|---|---|---|---|\n",
    );
    for table in tables {
        for goal in &table.goals {
            let reached = if goal.reached { "yes" } else { "**no**" };
            let (title, text_of, value) = (&table.title, &goal.text, goal.value);
            let limit = table.limit.map_or(String::new(), |most| most.to_string());
            writeln!(
                text,
                "| {title} | {text_of} | {value} | {reached} | {limit} |"
            )
            .expect("memory");
        }
    }
    text.push_str("\n## Tables\n");
    for table in tables {
        text.push_str(&markdown(table));
    }
    text
}

/// One table with its heading, and its plot if it has one.
pub fn markdown(table: &Table) -> String {
    let mut text = format!("\n### {}\n\n", table.title);
    let base = table.base.as_deref().and_then(|base| table.get(base));
    write!(text, "| | {} |", table.unit).expect("memory");
    if let Some(base) = base {
        write!(text, " times {} |", base.name).expect("memory");
    }
    text.push_str(if base.is_some() {
        "\n|---|---|---|\n"
    } else {
        "\n|---|---|\n"
    });
    for series in &table.series {
        write!(text, "| {} | {} |", series.name, series.spread()).expect("memory");
        if let Some(base) = base {
            match base.name == series.name {
                true => text.push_str(" 1 |"),
                false => write!(text, " {} |", series.ratio(base)).expect("memory"),
            }
        }
        text.push('\n');
    }
    if let Some(plot) = table.plot {
        writeln!(text, "\n![{}]({plot}.svg)", table.title).expect("memory");
    }
    text
}
