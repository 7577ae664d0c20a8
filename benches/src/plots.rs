//! A table as bars in SVG: medians, with the least and the greatest as a line across the end.

use std::fmt::Write;

use crate::measure::short;
use crate::table::Table;

const WIDTH: f64 = 720.0;
const LEFT: f64 = 230.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 30.0;
const TOP: f64 = 40.0;
const OURS: &str = "#2b6cb0";
const PEERS: &str = "#a0aec0";

/// The document. It has its own background, so that it can be read on any.
pub fn bars(table: &Table) -> String {
    let height = TOP + ROW * table.series.len() as f64 + 14.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"24\" font-weight=\"bold\">{} ({})</text>\n",
        escape(&table.title),
        escape(table.unit)
    );
    let greatest = table.series.iter().map(|series| series.spread().max);
    let scale = (WIDTH - LEFT - RIGHT) / greatest.fold(f64::MIN_POSITIVE, f64::max);
    for (row, series) in table.series.iter().enumerate() {
        let spread = series.spread();
        let y = TOP + ROW * row as f64;
        let [median, min, max] =
            [spread.median, spread.min, spread.max].map(|v| v.max(0.0) * scale);
        let colour = match is_ours(&series.name) {
            true => OURS,
            false => PEERS,
        };
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{:.1}\" width=\"{median:.1}\" height=\"18\" fill=\"{colour}\"/>\n\
             <path d=\"M{:.1} {:.1}H{:.1}\" stroke=\"black\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 8.0,
            y + 15.0,
            escape(&series.name),
            y + 1.0,
            LEFT + min,
            y + 10.0,
            LEFT + max,
            LEFT + max.max(median) + 8.0,
            y + 15.0,
            short(spread.median)
        )
        .expect("memory");
    }
    svg.push_str("</svg>\n");
    svg
}

fn is_ours(name: &str) -> bool {
    ["openssl-async-jobs", "Job", "callback"]
        .iter()
        .any(|ours| name.starts_with(ours))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
