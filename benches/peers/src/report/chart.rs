//! The picture: a panel for each measure, in it a bar for each system.

use std::fmt::Write as _;

use crate::{
    peer::Role,
    results::{Measure, Results},
};

const PANEL_WIDTH: usize = 460;
const PANELS_A_ROW: usize = 2;
/// Where bars begin in a panel, and how long its longest is.
const LEFT: usize = 165;
const LONGEST: f64 = 200.0;
const HEAD: usize = 34;
const ROW: usize = 18;
const BAR: usize = 13;

/// The picture's text. Each panel has a scale of its own.
pub(super) fn svg(results: &Results) -> String {
    let measures: Vec<Measure> =
        results.measures().into_iter().filter(|measure| measure.more_is_better().is_some()).collect();
    let panel_height = HEAD + ROW * results.systems.len() + 14;
    let width = PANEL_WIDTH * PANELS_A_ROW;
    let height = panel_height * measures.len().div_ceil(PANELS_A_ROW) + 10;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (at, measure) in measures.into_iter().enumerate() {
        let (x, y) = (at % PANELS_A_ROW * PANEL_WIDTH, at / PANELS_A_ROW * panel_height);
        panel(&mut out, results, measure, x, y);
    }
    out.push_str("</svg>\n");
    out
}

fn panel(out: &mut String, results: &Results, measure: Measure, x: usize, y: usize) {
    let better = if measure.more_is_better() == Some(true) { "longer" } else { "shorter" };
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "<text x=\"{}\" y=\"{}\" font-weight=\"bold\">{} ({better} is better)</text>",
        x + 10,
        y + 22,
        escaped(&measure.title())
    );
    let medians: Vec<Option<f64>> =
        results.systems.iter().map(|about| results.figure(about.name, measure).map(|f| f.median)).collect();
    let longest = medians.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    for (row, (about, median)) in results.systems.iter().zip(medians).enumerate() {
        let top = y + HEAD + ROW * row;
        let fill = match about.role {
            Role::Pgflow => "#2f6fb0",
            Role::Rival => "#8fa3b5",
            Role::Library => "#b5a88f",
            Role::Floor => "#dddddd",
        };
        let length = median.map_or(0.0, |median| (LONGEST * median / longest).max(1.0));
        let words = median.map_or_else(|| "–".to_owned(), |median| measure.words(median));
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{}\" y=\"{top}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{fill}\"/>\
             <text x=\"{:.1}\" y=\"{}\">{words}</text>",
            x + LEFT - 6,
            top + BAR - 3,
            escaped(about.name),
            x + LEFT,
            (x + LEFT) as f64 + length + 5.0,
            top + BAR - 3,
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
