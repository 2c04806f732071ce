//! Plots as SVG, all with logarithmic axes: a straight line that rises is growth, a level one is none.

use plotters::prelude::*;
use std::error::Error;

const SIZE: (u32, u32) = (800, 480);

/// Told apart also by those who see few colours (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(140, 140, 140),
];

/// A line: its name, and what was measured at which count.
pub struct Line {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

impl Line {
    pub fn of<R>(name: &'static str, rows: &[R], point: impl Fn(&R) -> (f64, f64)) -> Self {
        Self { name, points: rows.iter().map(point).collect() }
    }
}

/// Powers of ten, in full.
fn tick(value: f64) -> String {
    if value < 1.0 {
        return format!("{value}");
    }
    match value {
        _ if value >= 1e6 => format!("{}M", value / 1e6),
        _ if value >= 1e3 => format!("{}k", value / 1e3),
        _ => format!("{value}"),
    }
}

/// The powers of ten around all values.
fn around(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), v| (low.min(v), high.max(v)));
    (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()))
}

/// Draws lines; the result is the file's text.
pub fn draw(title: &str, x: &str, y: &str, lines: &[Line]) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let points = || lines.iter().flat_map(|line| &line.points);
        let (low_x, high_x) = around(points().map(|(x, _)| *x));
        let (low_y, high_y) = around(points().map(|(_, y)| *y));
        // The names stand beside the lines, never on them.
        let (left, right) = area.split_horizontally(SIZE.0 - 190);
        let mut chart = ChartBuilder::on(&left)
            .caption(title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d((low_x..high_x).log_scale(), (low_y..high_y).log_scale())?;
        chart
            .configure_mesh()
            .x_desc(x)
            .y_desc(y)
            .x_label_formatter(&|value| tick(*value))
            .y_label_formatter(&|value| tick(*value))
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 14))
            .light_line_style(RGBColor(240, 240, 240))
            .bold_line_style(RGBColor(215, 215, 215))
            .draw()?;
        for ((line, colour), row) in lines.iter().zip(COLOURS.iter().cycle()).zip(0..) {
            chart.draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))?;
            chart.draw_series(line.points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
            let height = 60 + 24 * row;
            right.draw(&PathElement::new(vec![(0, height), (22, height)], colour.stroke_width(2)))?;
            right.draw(&Circle::new((11, height), 3, colour.filled()))?;
            right.draw(&Text::new(line.name, (30, height - 7), ("sans-serif", 13)))?;
        }
        area.present()?;
    }
    Ok(svg)
}
