//! Tables, for Markdown and for a terminal.

use std::fmt::Write;

/// Cells of text under headings; all columns but the marked ones are numbers.
pub(crate) struct Table {
    headings: Vec<Heading>,
    rows: Vec<Vec<String>>,
}

struct Heading {
    title: String,
    is_text: bool,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            headings: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Adds a column of text.
    pub(crate) fn text(mut self, title: &str) -> Table {
        self.headings.push(Heading {
            title: title.to_owned(),
            is_text: true,
        });
        self
    }

    /// Adds a column of numbers.
    pub(crate) fn number(mut self, title: &str) -> Table {
        self.headings.push(Heading {
            title: title.to_owned(),
            is_text: false,
        });
        self
    }

    pub(crate) fn push(&mut self, row: Vec<String>) {
        assert_eq!(row.len(), self.headings.len(), "a cell for each heading");
        self.rows.push(row);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn to_markdown(&self) -> String {
        let titles: Vec<_> = self.headings.iter().map(|it| escaped(&it.title)).collect();
        let rules: Vec<_> = self
            .headings
            .iter()
            .map(|heading| match heading.is_text {
                true => "---",
                false => "---:",
            })
            .collect();
        let mut text = format!("| {} |\n| {} |\n", titles.join(" | "), rules.join(" | "));
        for row in &self.rows {
            let cells: Vec<_> = row.iter().map(|cell| escaped(cell)).collect();
            writeln!(text, "| {} |", cells.join(" | ")).expect("a string takes all");
        }
        text
    }

    /// In columns of equal width, without Markdown's emphasis.
    pub(crate) fn to_terminal(&self) -> String {
        let widths: Vec<usize> = self
            .headings
            .iter()
            .enumerate()
            .map(|(column, heading)| {
                let cells = self.rows.iter().map(|row| plain(&row[column]));
                cells
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
                    .max(heading.title.chars().count())
            })
            .collect();
        let line = |cells: Vec<String>| {
            let mut line = String::new();
            for ((cell, heading), width) in cells.iter().zip(&self.headings).zip(&widths) {
                match heading.is_text {
                    true => write!(line, "  {cell:<width$}"),
                    false => write!(line, "  {cell:>width$}"),
                }
                .expect("a string takes all");
            }
            line.trim_end().to_owned() + "\n"
        };
        let mut text = line(self.headings.iter().map(|it| it.title.clone()).collect());
        for row in &self.rows {
            text += &line(row.iter().map(|cell| plain(cell)).collect());
        }
        text
    }
}

fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace('\n', " ")
}

fn plain(cell: &str) -> String {
    cell.replace("**", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new().text("row").number("MB/s");
        table.push(vec!["**readinto**".to_owned(), "3350".to_owned()]);
        table.push(vec!["a|b".to_owned(), "7".to_owned()]);
        table
    }

    #[test]
    fn markdown_has_a_rule_and_no_stray_bars() {
        assert_eq!(
            table().to_markdown(),
            "| row | MB/s |\n| --- | ---: |\n| **readinto** | 3350 |\n| a\\|b | 7 |\n"
        );
    }

    #[test]
    fn a_terminal_gets_aligned_columns() {
        assert_eq!(
            table().to_terminal(),
            "  row       MB/s\n  readinto  3350\n  a|b          7\n"
        );
    }
}
