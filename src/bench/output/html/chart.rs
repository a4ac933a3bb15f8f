//! Lines over two axes, as SVG. The colours, the dashes and the sizes of letters are the style's.

use super::scale::{Scale, Tick};
use super::text::escape;
use std::fmt::Write;

/// Colours that the style knows; further lines are dashed.
pub(super) const COLOURS: usize = 8;

/// One line.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Line {
    /// What it is.
    pub(super) label: String,
    /// Which colour and dash: lines of a chart with one number look the same but for `is_thin`.
    pub(super) colour: usize,
    /// Secondary lines: thinner.
    pub(super) is_thin: bool,
    /// Values of both axes.
    pub(super) points: Vec<(f64, f64)>,
    /// The line in words, for those who do not see it.
    pub(super) words: String,
}

/// One axis.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Axis {
    /// How values lie on it.
    pub(super) scale: Scale,
    /// What it shows, with the unit.
    pub(super) label: String,
    /// For the script: how to write a value: `ms`, `percent`, `s`, or a unit.
    pub(super) unit: &'static str,
}

/// A chart.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: String,
    /// How to read it; under the title.
    pub(super) note: String,
    /// To the right.
    pub(super) x: Axis,
    /// Upwards.
    pub(super) y: Axis,
    /// What is drawn.
    pub(super) lines: Vec<Line>,
    /// Width and height in units of the drawing, which are pixels on a wide screen.
    pub(super) size: (f64, f64),
    /// Name the lines below, where the title does not.
    pub(super) has_legend: bool,
    /// Fill what lies under the lines.
    pub(super) is_filled: bool,
}

/// The part of the drawing inside the axes.
struct Plot {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

const LEFT: f64 = 66.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 46.0;

impl Chart {
    /// The figure with title, note, drawing and legend.
    pub(super) fn figure(&self) -> String {
        let legend = match self.has_legend {
            true => self.legend(),
            false => String::new(),
        };
        format!(
            "<figure class=\"chart\">\n<figcaption><b>{}</b><span>{}</span></figcaption>\n{}{legend}</figure>\n",
            escape(&self.title),
            escape(&self.note),
            self.svg()
        )
    }

    fn svg(&self) -> String {
        let (width, height) = self.size;
        let plot = Plot {
            left: LEFT,
            top: TOP,
            width: width - LEFT - RIGHT,
            height: height - TOP - BOTTOM,
        };
        let mut svg = format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\" data-x=\"{}\" data-y=\"{}\" \
             data-xu=\"{}\" data-yu=\"{}\" data-plot=\"{} {} {} {}\">\n",
            escape(&format!("{}: {}", self.title, self.y.label)),
            self.x.scale.attribute(),
            self.y.scale.attribute(),
            self.x.unit,
            self.y.unit,
            plot.left,
            plot.top,
            plot.width,
            plot.height,
        );
        self.draw_axes(&plot, &mut svg);
        for (index, line) in self.lines.iter().enumerate() {
            self.draw_line(&plot, index, line, &mut svg);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn draw_axes(&self, plot: &Plot, svg: &mut String) {
        for tick in self.x.scale.ticks() {
            let x = plot.x(self.x.scale, tick.at);
            mark(
                svg,
                &tick,
                (x, plot.top),
                (x, plot.bottom()),
                (x, plot.bottom() + 17.0),
                "middle",
            );
        }
        for tick in self.y.scale.ticks() {
            let y = plot.y(self.y.scale, tick.at);
            let words = (plot.left - 8.0, y + 4.0);
            mark(svg, &tick, (plot.left, y), (plot.right(), y), words, "end");
        }
        let _ = writeln!(
            svg,
            "<text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
             <text class=\"axis\" x=\"4\" y=\"14\">{}</text>",
            plot.right(),
            plot.bottom() + 38.0,
            escape(&self.x.label),
            escape(&self.y.label),
        );
    }

    fn draw_line(&self, plot: &Plot, index: usize, line: &Line, svg: &mut String) {
        let mut path = String::new();
        for (number, &(x, y)) in line.points.iter().enumerate() {
            let letter = if number == 0 { 'M' } else { 'L' };
            let (x, y) = (plot.x(self.x.scale, x), plot.y(self.y.scale, y));
            let _ = write!(path, "{letter}{x:.2} {y:.2}");
        }
        if self.is_filled
            && let (Some(first), Some(last)) = (line.points.first(), line.points.last())
        {
            let (from, to) = (plot.x(self.x.scale, first.0), plot.x(self.x.scale, last.0));
            let floor = plot.bottom();
            let class = class(line);
            let _ = writeln!(
                svg,
                "<path class=\"area {class}\" d=\"{path}L{to:.2} {floor}L{from:.2} {floor}Z\"/>"
            );
        }
        let _ = writeln!(
            svg,
            "<path class=\"curve {}\" data-line=\"{index}\" data-label=\"{}\" data-points=\"{}\" d=\"{path}\">\
             <title>{}</title></path>",
            class(line),
            escape(&line.label),
            line.points.len(),
            escape(&line.words),
        );
    }

    fn legend(&self) -> String {
        let items: String = self
            .lines
            .iter()
            .enumerate()
            .map(|(index, line)| {
                format!(
                    "<li><button type=\"button\" data-line=\"{index}\" aria-pressed=\"true\">\
                     <svg class=\"key\" viewBox=\"0 0 28 10\" aria-hidden=\"true\"><path class=\"curve {}\" \
                     d=\"M2 5L26 5\"/></svg>{}</button></li>\n",
                    class(line),
                    escape(&line.label)
                )
            })
            .collect();
        format!("<ul class=\"legend\">\n{items}</ul>\n")
    }
}

fn class(line: &Line) -> String {
    let colour = line.colour % COLOURS;
    let dash = (line.colour / COLOURS) % 3;
    let thin = if line.is_thin { " thin" } else { "" };
    format!("c{colour} d{dash}{thin}")
}

fn mark(
    svg: &mut String,
    tick: &Tick,
    from: (f64, f64),
    to: (f64, f64),
    words: (f64, f64),
    anchor: &str,
) {
    let minor = if tick.is_minor { " minor" } else { "" };
    let _ = writeln!(
        svg,
        "<path class=\"grid{minor}\" d=\"M{:.2} {:.2}L{:.2} {:.2}\"/>",
        from.0, from.1, to.0, to.1
    );
    if !tick.text.is_empty() {
        let _ = writeln!(
            svg,
            "<text class=\"tick{minor}\" x=\"{:.2}\" y=\"{:.2}\" text-anchor=\"{anchor}\">{}</text>",
            words.0,
            words.1,
            escape(&tick.text)
        );
    }
}

impl Plot {
    fn right(&self) -> f64 {
        self.left + self.width
    }

    fn bottom(&self) -> f64 {
        self.top + self.height
    }

    fn x(&self, scale: Scale, value: f64) -> f64 {
        self.left + self.width * scale.place(value)
    }

    fn y(&self, scale: Scale, value: f64) -> f64 {
        self.bottom() - self.height * scale.place(value)
    }
}
