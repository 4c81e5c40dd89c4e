//! Charts as SVG, drawn where the numbers are: on the server alone, so that a browser loads no code for them.
//!
//! A page gets them as text and puts it in with `inner_html`, the same with and without scripts and whether it was rendered on
//! the server or reached within the browser. Whatever is not a number goes through [`escape`]. Colours are classes (`c1` to
//! `c6` are the tokens `--chart-1` to `--chart-6`); no series is told by its colour alone, and beside every chart stands a
//! table of the same numbers. Words stand beside the drawing, not in it, so that a drawing may be as wide as there is room.

mod key;
mod usage;

use core::fmt::Write as _;

pub use self::{
    key::of_key,
    usage::{denied, section},
};

/// Width and height of a drawing in its own units; it is stretched over the room there is.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 200.0;

/// A text as it may stand in a page, also within an attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "counts that are drawn a few hundred units high")]
const fn float(n: u64) -> f64 {
    n as f64
}

/// The end of an axis on which this is the most: 1, 2 or 5 and zeros behind it.
fn axis(most: f64) -> f64 {
    let mut end = 1.0;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            if most <= end * factor {
                return end * factor;
            }
        }
        end *= 10.0;
    }
}

/// The lines behind a drawing: its bottom, its middle and its top.
const GRID: &str = "<path class=\"grid\" d=\"M0 0H1000M0 100H1000M0 200H1000\"/>";

/// One part of all bars.
#[derive(Debug)]
struct Part {
    /// The classes of its fill.
    class: &'static str,
    /// Lines over the fill that tell it from others without its colour.
    pattern: Option<Pattern>,
}

/// What lies over a fill.
#[derive(Clone, Copy, Debug)]
struct Pattern {
    /// Part of an id, the same on every page.
    name: &'static str,
    /// The path of one tile of eight by eight.
    path: &'static str,
}

impl Pattern {
    fn define(self, out: &mut String) {
        let Self { name, path } = self;
        _ = write!(
            out,
            "<pattern id=\"over-{name}\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">\
             <path class=\"over\" d=\"{path}\"/></pattern>"
        );
    }
}

/// One bar: how much of each part, from the bottom up, what is said of it, and where it leads.
#[derive(Debug)]
struct Bar {
    values: Vec<u64>,
    title: String,
    /// Where the whole bar leads, and where each of its parts does.
    links: Option<(String, Vec<String>)>,
}

/// Bars with parts on top of each other, and over them what can be pointed at. `label` is all of it in words.
fn bars(label: &str, parts: &[Part], bars: &[Bar], most: f64) -> String {
    let mut out = format!(
        "<svg class=\"plot\" viewBox=\"0 0 1000 200\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\"><defs>",
        escape(label)
    );
    for pattern in parts.iter().filter_map(|part| part.pattern) {
        pattern.define(&mut out);
    }
    _ = write!(out, "</defs>{GRID}");
    let mut hits = String::from(
        "<svg class=\"plot hits\" viewBox=\"0 0 1000 200\" preserveAspectRatio=\"none\" aria-hidden=\"true\">",
    );
    let pitch = WIDTH / float(u64::try_from(bars.len().max(1)).unwrap_or(1));
    let (width, mut left) = (pitch * 0.8, 0.0);
    for bar in bars {
        hit(
            &mut hits,
            bar.links.as_ref().map(|(whole, _)| whole.as_str()),
            &bar.title,
            (left, 0.0, pitch, HEIGHT),
        );
        let mut bottom = HEIGHT;
        for (at, (part, value)) in
            parts.iter().zip(&bar.values).enumerate().filter(|(_, (_, value))| **value > 0)
        {
            // One of a million is seen, too.
            let height = (float(*value) / most * HEIGHT).max(1.5);
            bottom -= height;
            let place = (left + pitch * 0.1, bottom, width, height);
            rect(&mut out, &format!("class=\"{}\"", part.class), place);
            if let Some(pattern) = part.pattern {
                rect(&mut out, &format!("fill=\"url(#over-{})\"", pattern.name), place);
            }
            if let Some((_, links)) = &bar.links
                && let Some(link) = links.get(at)
            {
                hit(&mut hits, Some(link), &bar.title, place);
            }
        }
        left += pitch;
    }
    out.push_str("</svg>");
    hits.push_str("</svg>");
    out + &hits
}

type Place = (f64, f64, f64, f64);

fn rect(out: &mut String, fill: &str, (x, y, width, height): Place) {
    _ = write!(out, "<rect {fill} x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>");
}

/// Where one can point at and click. The table has the same links for everybody else.
fn hit(out: &mut String, link: Option<&str>, title: &str, (x, y, width, height): Place) {
    let area = format!(
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{}</title></rect>",
        escape(title)
    );
    match link {
        Some(link) => _ = write!(out, "<a href=\"{}\" tabindex=\"-1\">{area}</a>", escape(link)),
        None => out.push_str(&area),
    }
}

/// The path of a line through points that may be missing; one alone is a dash.
fn line(values: &[Option<f64>], most: f64) -> String {
    let pitch = WIDTH / float(u64::try_from(values.len().max(1)).unwrap_or(1));
    let (mut out, mut x, mut drawing) = (String::new(), pitch / 2.0, false);
    for (at, value) in values.iter().enumerate() {
        if let Some(value) = value {
            let y = HEIGHT - (value / most * HEIGHT).min(HEIGHT);
            let alone = values.get(at + 1).is_none_or(Option::is_none);
            _ = match (drawing, alone) {
                (true, _) => write!(out, "L{x:.1} {y:.1}"),
                (false, false) => write!(out, "M{x:.1} {y:.1}"),
                (false, true) => write!(out, "M{:.1} {y:.1}h16", x - 8.0),
            };
        }
        drawing = value.is_some();
        x += pitch;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hdr_04_what_people_wrote_is_text_in_a_drawing() {
        assert_eq!(escape("a<b>&\"'"), "a&lt;b&gt;&amp;&quot;&#39;");
        let bar = Bar {
            values: vec![1],
            title: "<script>".into(),
            links: Some(("\"><x".into(), vec!["/&".into()])),
        };
        let drawn = bars("<x>", &[Part { class: "c1", pattern: None }], &[bar], 1.0);
        for wrong in ["<script", "<x", "\"\">", "\"/&\""] {
            assert!(!drawn.contains(wrong), "{wrong} in {drawn}");
        }
    }

    #[test]
    fn an_axis_ends_with_a_round_number() {
        let ends = [0.0, 1.0, 3.0, 6.0, 11.0, 499.0, 501.0].map(|most| axis(most).to_string());
        assert_eq!(ends, ["1", "1", "5", "10", "20", "500", "1000"]);
    }

    #[test]
    fn lines_have_gaps_where_nothing_is_known() {
        let drawn = line(&[Some(0.0), Some(10.0), None, Some(5.0)], 10.0);
        assert_eq!(drawn, "M125.0 200.0L375.0 0.0M867.0 100.0h16");
    }
}
