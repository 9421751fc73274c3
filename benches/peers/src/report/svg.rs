//! Just enough SVG: rectangles, lines, marks and text.

use std::fmt::{Display, Write};

/// A picture that is being drawn.
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Where a text stands from its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Svg {
        Svg {
            width,
            height,
            body: String::new(),
        }
    }

    pub(super) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, fill: &str) {
        self.add(format_args!(
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" fill="{fill}"/>"#
        ));
    }

    /// A bar with its free end rounded.
    pub(super) fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, fill: &str) {
        let round = 2.5_f64.min(width);
        let straight = width - round;
        let upright = height - 2.0 * round;
        self.add(format_args!(
            r#"<path d="M{x:.1} {y:.1}h{straight:.1}q{round:.1} 0 {round:.1} {round:.1}v{upright:.1}q0 {round:.1} -{round:.1} {round:.1}h-{straight:.1}z" fill="{fill}"/>"#
        ));
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, width: f64) {
        self.stroke(from, to, stroke, width, "");
    }

    pub(super) fn dashed(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, width: f64) {
        self.stroke(from, to, stroke, width, r#" stroke-dasharray="4 3""#);
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), radius: f64, fill: &str) {
        self.add(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="{fill}"/>"#
        ));
    }

    pub(super) fn ring(&mut self, (x, y): (f64, f64), radius: f64, stroke: &str) {
        self.add(format_args!(
            r##"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" fill="#ffffff" stroke="{stroke}" stroke-width="1.6"/>"##
        ));
    }

    pub(super) fn diamond(&mut self, (x, y): (f64, f64), radius: f64, fill: &str) {
        self.add(format_args!(
            r#"<path d="M{x:.1} {top:.1}l{radius} {radius}l-{radius} {radius}l-{radius} -{radius}z" fill="{fill}"/>"#,
            top = y - radius
        ));
    }

    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.add(format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" class="{class}">{text}</text>"#
        ));
    }

    /// The whole file. `title` is for those who can't see the picture.
    pub(super) fn finish(self, title: &str) -> String {
        let Svg {
            width,
            height,
            body,
        } = self;
        let title = escaped(title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n\
             <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#ffffff\"/>\n{body}</svg>\n"
        )
    }

    fn stroke(
        &mut self,
        (x1, y1): (f64, f64),
        (x2, y2): (f64, f64),
        stroke: &str,
        width: f64,
        more: &str,
    ) {
        self.add(format_args!(
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{stroke}" stroke-width="{width}"{more}/>"#
        ));
    }

    fn add(&mut self, element: impl Display) {
        writeln!(self.body, "{element}").expect("a string takes all");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

const STYLE: &str = "\
text{font-family:system-ui,-apple-system,'Segoe UI','Helvetica Neue',Arial,sans-serif;\
font-size:12.5px;fill:#343a40;\
paint-order:stroke;stroke:#ffffff;stroke-width:2.5px;stroke-linejoin:round}\
.title{font-size:17px;font-weight:600;fill:#212529}\
.note{font-size:12px;fill:#6c757d}\
.small{font-size:11px;fill:#868e96}\
.ours{font-weight:700;fill:#c2410c}\
.strong{font-weight:600}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_can_not_break_the_picture() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text((1.0, 2.0), Anchor::Start, "note", "a < b & c");
        let picture = svg.finish("<title>");
        assert!(picture.contains("a &lt; b &amp; c"));
        assert!(picture.contains("<title>&lt;title&gt;</title>"));
    }
}
