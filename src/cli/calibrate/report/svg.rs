//! A chart's frame: axes, ticks and marks in SVG, drawn by hand and coloured by the page's style.

use super::page::escape;
use std::fmt::Write;

/// Size of every chart in its own units; at a phone's width one unit is about one pixel.
const WIDTH: f64 = 360.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;

/// One axis: what it shows, from where to where.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) scale: Scale,
    /// Whether values are shares, to be read as percent.
    pub(super) percent: bool,
}

/// How values are spread along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// From a value above 0.
    Logarithmic,
}

/// A chart that is being drawn.
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    marks: u32,
    drawn: String,
}

impl Plot {
    /// A frame with both axes; `title` is what a screen reader says.
    pub(super) fn new(title: &str, x: Axis, y: Axis) -> Self {
        let mut drawn =
            format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escape(title));
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for value in y.ticks() {
            let at = HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM);
            line(&mut drawn, "grid", (LEFT, at), (right, at));
            label(&mut drawn, "end", (LEFT - 5.0, at + 3.5), &y.show(value));
        }
        for value in x.ticks() {
            let at = LEFT + x.place(value) * (WIDTH - LEFT - RIGHT);
            line(&mut drawn, "axis", (at, bottom), (at, bottom + 4.0));
            label(&mut drawn, "middle", (at, bottom + 15.0), &x.show(value));
        }
        line(&mut drawn, "axis", (LEFT, bottom), (right, bottom));
        label(&mut drawn, "middle", (f64::midpoint(LEFT, right), HEIGHT - 8.0), x.label);
        let middle = f64::midpoint(TOP, bottom);
        let _ = write!(
            drawn,
            "<text transform=\"translate(11 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escape(y.label)
        );
        Self { x, y, marks: 0, drawn }
    }

    /// Bars side by side over the whole x axis, as one outline.
    pub(super) fn steps(&mut self, class: &'static str, heights: &[f64]) {
        if heights.is_empty() {
            return;
        }
        let width = (WIDTH - LEFT - RIGHT) / super::statistics::as_f64(heights.len());
        let mut path = format!("M{LEFT:.1} {:.1}", HEIGHT - BOTTOM);
        for height in heights {
            let _ = write!(path, "V{:.1}h{width:.3}", self.at(0.0, *height).1);
        }
        let _ = write!(self.drawn, "<path class=\"{class}\" d=\"{path}V{:.1}\"/>", HEIGHT - BOTTOM);
    }

    /// A line through points.
    pub(super) fn line(&mut self, class: &'static str, points: &[(f64, f64)]) {
        let mut path = String::new();
        for (nth, (x, y)) in points.iter().enumerate() {
            let (x, y) = self.at(*x, *y);
            let _ = write!(path, "{}{x:.1} {y:.1}", if nth == 0 { 'M' } else { 'L' });
        }
        let _ = write!(self.drawn, "<path class=\"{class}\" d=\"{path}\"/>");
    }

    /// A dot.
    pub(super) fn dot(&mut self, class: &'static str, x: f64, y: f64) {
        let (x, y) = self.at(x, y);
        let _ = write!(self.drawn, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
    }

    /// A word beside a point, on the side that has room.
    pub(super) fn word(&mut self, x: f64, y: f64, word: &str) {
        let (x, y) = self.at(x, y);
        let (anchor, x) = if x > WIDTH * 0.75 { ("end", x - 8.0) } else { ("start", x + 8.0) };
        label(&mut self.drawn, anchor, (x, (y + 14.0).min(HEIGHT - BOTTOM - 4.0)), word);
    }

    /// A vertical line with its name; several names stand below each other.
    pub(super) fn mark(&mut self, x: f64, name: &str) {
        let top = TOP + 8.0 + 12.0 * f64::from(self.marks);
        self.marks = self.marks.saturating_add(1);
        let (x, _) = self.at(x, 0.0);
        line(&mut self.drawn, "mark", (x, TOP), (x, HEIGHT - BOTTOM));
        let (anchor, x) = if x > WIDTH * 0.75 { ("end", x - 4.0) } else { ("start", x + 4.0) };
        label(&mut self.drawn, anchor, (x, top), name);
    }

    /// A horizontal line over the whole width, with its name at the right end.
    pub(super) fn level(&mut self, y: f64, name: &str) {
        let (_, y) = self.at(0.0, y);
        line(&mut self.drawn, "mark", (LEFT, y), (WIDTH - RIGHT, y));
        label(&mut self.drawn, "end", (WIDTH - RIGHT, y - 4.0), name);
    }

    /// The finished element.
    pub(super) fn finish(mut self) -> String {
        self.drawn.push_str("</svg>");
        self.drawn
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let x = LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT);
        (x, HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM))
    }
}

impl Axis {
    /// From 0 to a little above `most`, in percent.
    pub(super) fn shares(label: &'static str, most: f64) -> Self {
        let to = if most > 0.0 { (most * 1.15).min(1.0) } else { 1.0 };
        Self { label, from: 0.0, to, scale: Scale::Linear, percent: true }
    }

    /// Where a value lies between the ends: 0 to 1; what lies beyond, or is no number, at an end.
    fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Logarithmic => (value.max(self.from) / self.from).ln() / (self.to / self.from).ln(),
        };
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }

    /// Three to six round values.
    fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        match self.scale {
            Scale::Logarithmic => {
                let mut tick = 10.0_f64.powf(self.from.log10().ceil());
                while tick <= self.to * 1.000_001 && ticks.len() < 8 {
                    ticks.push(tick);
                    tick *= 10.0;
                }
            }
            Scale::Linear => {
                let rough = (self.to - self.from) / 5.5;
                let power = 10.0_f64.powf(rough.log10().floor());
                let nice = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power);
                let step = nice.clone().find(|step| *step >= rough).unwrap_or(rough);
                let first = (self.from / step - 1e-9).ceil();
                for nth in 0..8_u8 {
                    let tick = (first + f64::from(nth)) * step;
                    if tick <= self.to + 1e-9 * step {
                        ticks.push(tick);
                    }
                }
            }
        }
        ticks
    }

    fn show(&self, value: f64) -> String {
        let (value, unit) = if self.percent { (value * 100.0, "%") } else { (value, "") };
        let size = if self.percent { (self.to - self.from) * 100.0 } else { self.to - self.from };
        if value != 0.0 && (value.abs() >= 1e5 || value.abs() < 1e-4) {
            return format!("{value:.0e}{unit}");
        }
        let size = if self.scale == Scale::Logarithmic { value * 10.0 } else { size };
        let decimals = if size >= 8.0 {
            0
        } else if size >= 0.8 {
            1
        } else if size >= 0.08 {
            2
        } else {
            4
        };
        format!("{value:.decimals$}{unit}")
    }
}

fn line(drawn: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = write!(
        drawn,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn label(drawn: &mut String, anchor: &str, at: (f64, f64), text: &str) {
    let _ = write!(
        drawn,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
        at.0,
        at.1,
        escape(text)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(from: f64, to: f64, scale: Scale, percent: bool) -> Axis {
        Axis { label: "x", from, to, scale, percent }
    }

    #[test]
    fn what_lies_beyond_an_axis_is_drawn_at_its_end() {
        let linear = axis(2.0, 4.0, Scale::Linear, false);
        assert_eq!([1.0, 3.0, 9.0, f64::NAN].map(|value| linear.place(value)), [0.0, 0.5, 1.0, 0.0]);
        let log = axis(0.001, 1.0, Scale::Logarithmic, true);
        assert_eq!([0.0, 1.0].map(|value| log.place(value)), [0.0, 1.0]);
        assert!((log.place(0.01) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(axis(1.0, 1.0, Scale::Linear, false).place(1.0), 0.0);
    }

    #[test]
    fn ticks_are_round_and_few() {
        let shown = |axis: Axis| axis.ticks().iter().map(|tick| axis.show(*tick)).collect::<Vec<_>>();
        assert_eq!(shown(axis(0.0, 1.0, Scale::Linear, true)), ["0%", "20%", "40%", "60%", "80%", "100%"]);
        assert_eq!(shown(axis(0.001, 1.0, Scale::Logarithmic, true)), ["0.1%", "1%", "10%", "100%"]);
        assert_eq!(shown(axis(-3.2, 7.0, Scale::Linear, false)), ["-2", "0", "2", "4", "6"]);
        assert_eq!(shown(axis(0.0, 0.06, Scale::Linear, true)), ["0.0%", "2.0%", "4.0%", "6.0%"]);
        for (from, to) in [(1.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY), (-1e300, 1e300)] {
            assert!(axis(from, to, Scale::Linear, false).ticks().len() <= 8);
        }
    }
}
