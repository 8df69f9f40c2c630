//! Figures as a picture: for each, a bar for ours above one for the floor, and a line through the rounds of each.

use std::fmt::Write as _;

use pgflow::bench::{Amount, Figure, Round};

const WIDTH: u32 = 1_150;
/// Where bars begin, and how long the longer one of a figure is.
const LEFT: u32 = 330;
const LONGEST: f64 = 330.0;
/// Where the rounds' lines begin, and how far they go.
const LINES: u32 = 860;
const LINES_WIDTH: f64 = 200.0;
const TOP: u32 = 40;
const ROW: u32 = 44;
const BAR: u32 = 14;

/// The picture's text. Each figure has a scale of its own: only its two bars compare.
pub(super) fn svg(figures: &[Figure], machine: &str) -> String {
    let height = TOP + ROW * u32::try_from(figures.len()).unwrap_or(u32::MAX / ROW / 2) + 10;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"22\" fill=\"#555\" font-size=\"11\">{}</text>\n",
        escaped(machine)
    );
    for (figure, y) in figures.iter().zip((TOP..).step_by(ROW as usize)) {
        let longer = size(figure.pgflow).max(size(figure.floor)).max(f64::MIN_POSITIVE);
        let name = escaped(&figure.name);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>", LEFT - 10, y + BAR + 4);
        for (y, amount, fill, who) in
            [(y, figure.pgflow, "#2f6fb0", "pgflow"), (y + BAR + 2, figure.floor, "#b9c4cf", "floor")]
        {
            let length = (LONGEST * size(amount) / longer).max(1.0);
            let _ = writeln!(
                out,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{fill}\"/>\
                 <text x=\"{:.1}\" y=\"{}\">{who} {}</text>",
                f64::from(LEFT) + length + 6.0,
                y + BAR - 3,
                words(amount)
            );
        }
        for (fill, of) in [("#b9c4cf", (|r| r.floor) as fn(&Round) -> Amount), ("#2f6fb0", |r| r.pgflow)] {
            out.push_str(&line(figure, y, fill, of));
        }
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">× {}</text>",
            WIDTH - 10,
            y + BAR + 4,
            figure.ratio
        );
    }
    out.push_str("</svg>\n");
    out
}

/// A figure's rounds in their order, from zero up, ours and the floor's on one scale; nothing for one alone.
fn line(figure: &Figure, y: u32, fill: &str, of: fn(&Round) -> Amount) -> String {
    if figure.rounds.len() < 2 {
        return String::new();
    }
    let both = figure.rounds.iter().flat_map(|r| [size(r.pgflow), size(r.floor)]);
    let (most, bottom) = (both.fold(f64::MIN_POSITIVE, f64::max), f64::from(y + 2 * BAR));
    let step = LINES_WIDTH / (figure.rounds.len() - 1) as f64;
    let points = figure.rounds.iter().enumerate().map(|(i, round)| {
        let (x, up) = (f64::from(LINES) + step * i as f64, f64::from(2 * BAR) * size(of(round)) / most);
        format!("{x:.1},{:.1}", bottom - up)
    });
    let points: Vec<String> = points.collect();
    format!("<polyline points=\"{}\" fill=\"none\" stroke=\"{fill}\" stroke-width=\"1.5\"/>\n", points.join(" "))
}

fn size(amount: Amount) -> f64 {
    match amount {
        Amount::Time { p50_us, .. } => p50_us.max(0) as f64,
        Amount::Rate { per_s } => per_s as f64,
        Amount::Cost { amount } => amount,
        _ => 0.0,
    }
}

fn words(amount: Amount) -> String {
    match amount {
        Amount::Time { p50_us, p99_us } => format!("{p50_us} µs (p99 {p99_us})"),
        Amount::Rate { per_s } => format!("{per_s} a second"),
        Amount::Cost { amount } => amount.to_string(),
        _ => String::new(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
