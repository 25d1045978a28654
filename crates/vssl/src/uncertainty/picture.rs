//! The curves of remaining errors as a picture: SVG, one line a score, the legend beside it.

use std::fmt::Write;

use super::{Assessment, POINTS, Report};
use crate::formats::html::escaped;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
/// Left, top, right and bottom of the plot itself.
const PLOT: [f64; 4] = [60.0, 40.0, 540.0, 340.0];

/// Colours that people with any colour vision tell apart (Okabe and Ito 2008). More lines than colours
/// are dashed.
const PAINTS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

impl Assessment {
    /// Errors of the probe among the images that each score is surest of; `None` where there were no
    /// labels.
    pub fn svg(&self) -> Option<String> {
        let curves: Vec<(&Report, &[f64])> = self
            .scores
            .iter()
            .filter_map(|report| Some((report, report.risk.as_ref()?.curve.as_slice())))
            .collect();
        let error = self.probe_error.filter(|_| !curves.is_empty())?;
        let highest = curves.iter().flat_map(|curve| curve.1).fold(error, |a, &b| a.max(b));
        let top = (highest * 10.0).ceil().max(1.0) / 10.0;
        let mut svg = frame(&self.run.display().to_string(), top);
        let level = place(1.0, error, top).1;
        let [left, _, right, _] = PLOT;
        let _ = writeln!(
            svg,
            "<path d=\"M{left} {level:.1}H{right}\" stroke=\"#999\" stroke-dasharray=\"2 4\"/>"
        );
        for (number, (report, curve)) in curves.iter().enumerate() {
            line(&mut svg, number, report, curve, top);
        }
        svg.push_str("</svg>\n");
        Some(svg)
    }
}

/// The point in the picture for a share of the images and a share of errors.
fn place(coverage: f64, risk: f64, top: f64) -> (f64, f64) {
    let [left, upper, right, lower] = PLOT;
    (left + (right - left) * coverage, lower - (lower - upper) * risk / top)
}

fn frame(run: &str, top: f64) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" fill=\"none\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"60\" y=\"24\" fill=\"#000\" font-size=\"14\">{}: errors of the probe among its \
         surest images</text>\n",
        escaped(run)
    );
    let [left, upper, right, lower] = PLOT;
    let _ = writeln!(svg, "<path d=\"M{left} {upper}V{lower}H{right}\" stroke=\"#000\"/>");
    for tick in 0..=4 {
        let share = f64::from(tick) / 4.0;
        let (x, _) = place(share, 0.0, top);
        let (_, y) = place(0.0, share * top, top);
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{}\" fill=\"#000\" text-anchor=\"middle\">{:.0} %</text>\
             <text x=\"{}\" y=\"{:.1}\" fill=\"#000\" text-anchor=\"end\">{:.1} %</text>",
            lower + 18.0,
            100.0 * share,
            left - 6.0,
            y + 4.0,
            100.0 * share * top
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" fill=\"#000\" text-anchor=\"middle\">share of the images, the surest \
         first</text>",
        (left + right) / 2.0,
        lower + 42.0
    );
    svg
}

fn line(svg: &mut String, number: usize, report: &Report, curve: &[f64], top: f64) {
    let paint = PAINTS[number % PAINTS.len()];
    let dash = if number < PAINTS.len() { "" } else { " stroke-dasharray=\"6 3\"" };
    let points: Vec<String> = curve
        .iter()
        .enumerate()
        .map(|(point, &risk)| place((point + 1) as f64 / POINTS as f64, risk, top))
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let (x, y) = (PLOT[2] + 20.0, PLOT[1] + 20.0 * number as f64);
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" stroke=\"{paint}\" stroke-width=\"1.5\"{dash}/>\
         <path d=\"M{x} {y}h24\" stroke=\"{paint}\" stroke-width=\"2\"{dash}/>\
         <text x=\"{}\" y=\"{}\" fill=\"#000\">{}</text>",
        points.join(" "),
        x + 30.0,
        y + 4.0,
        report.score.name()
    );
}
