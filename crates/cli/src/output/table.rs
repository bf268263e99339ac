//! Tables: aligned columns, no lines drawn, cut to the terminal's width.

use super::Style;
use super::lines::cut;

/// Spaces between two columns.
const GAP: usize = 2;

/// A table: a header and rows of cells. Cells hold no colours, so that their width is known.
#[derive(Debug, Default)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names.
    pub(crate) fn new<const N: usize>(header: [&str; N]) -> Self {
        Self { header: header.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Adds a row; it has as many cells as the header.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.header.len(), "a row has a cell for each column");
        self.rows.push(cells.into());
    }

    /// The text, without a final line break; empty without rows.
    pub(crate) fn render(&self, style: Style) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells
                    .chain(self.header.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let header = line(&self.header, &widths, style.width);
        let rows = self.rows.iter().map(|row| line(row, &widths, style.width));
        std::iter::once(style.dim(&header)).chain(rows).collect::<Vec<_>>().join("\n")
    }
}

fn line(cells: &[String], widths: &[usize], width_max: usize) -> String {
    let mut out = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        out.push_str(cell);
        let padding = width - cell.chars().count() + GAP;
        out.extend(std::iter::repeat_n(' ', padding));
    }
    cut(out.trim_end(), width_max)
}

/// A cell for a value that may be absent.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_long_lines_are_cut() {
        let mut table = Table::new(["app", "live", "last"]);
        table.row(["web".into(), "v42".into(), "✓ 31 s, 0 of 12,884 failed".into()]);
        table.row(["search-index".into(), or_dash(None::<u64>), String::new()]);
        insta::assert_snapshot!(table.render(Style::plain(30)), @r"
        app           live  last
        web           v42   ✓ 31 s, 0…
        search-index  –
        ");
        assert_eq!(Table::new(["app"]).render(Style::plain(80)), "");
    }
}
