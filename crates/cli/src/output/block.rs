//! A block of lines on a terminal that is drawn again in place.
//!
//! It knows only how many lines it drew last: it moves up so many, clears to the end of the screen
//! and writes the new ones. Lines are cut to the width, since a wrapped line would be counted as
//! one and leave rubbish behind. Used only where standard error is a terminal.

use std::io::{self, Write};

/// The block; dropping it leaves the last lines standing.
#[derive(Debug, Default)]
pub(crate) struct Block {
    drawn: usize,
}

impl Block {
    /// The bytes that replace the last lines by these.
    fn frame(&mut self, lines: &[String]) -> String {
        let mut out = String::new();
        if self.drawn > 0 {
            out.push_str(&format!("\x1b[{}A\r", self.drawn));
        }
        out.push_str("\x1b[J");
        for line in lines {
            out.push_str(line);
            out.push('\n');
        }
        self.drawn = lines.len();
        out
    }

    /// Draws `lines` in place of the last ones.
    pub(crate) fn draw(&mut self, lines: &[String]) {
        let frame = self.frame(lines);
        let mut stream = io::stderr().lock();
        // A terminal that is gone ends the command by SIGHUP; until then nothing is to be done.
        let _ = stream.write_all(frame.as_bytes()).and_then(|()| stream.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_clears_the_one_before() {
        let mut block = Block::default();
        let lines = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        assert_eq!(block.frame(&lines(&["a", "b"])), "\x1b[Ja\nb\n");
        assert_eq!(block.frame(&lines(&["c"])), "\x1b[2A\r\x1b[Jc\n");
        assert_eq!(block.frame(&[]), "\x1b[1A\r\x1b[J");
        assert_eq!(block.frame(&lines(&["d"])), "\x1b[Jd\n");
    }
}
