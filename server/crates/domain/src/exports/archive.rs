//! The file of an export: a ZIP that is written from front to back and taken away in pieces, so that memory does not grow
//! with it. A library writes it: the format has corners (sizes after the data, ZIP64) that are not ours to get right.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use zip::{CompressionMethod, ZipWriter, result::ZipError, write::SimpleFileOptions, write::StreamWriter};

use crate::{Error, Result};

/// How large a piece is, bytes: one row of the database, and as much memory on the way.
pub(super) const PIECE: usize = 256 * 1024;

/// Where the library writes to, and from where it is taken away.
#[derive(Clone, Default)]
struct Tray(Arc<Mutex<Vec<u8>>>);

impl Write for Tray {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A ZIP in the making.
pub(super) struct Archive {
    zip: ZipWriter<StreamWriter<Tray>>,
    tray: Tray,
}

fn broken(why: impl Into<ZipError>) -> Error {
    Error::Internal(format!("an export could not be packed: {}", why.into()))
}

impl Archive {
    pub(super) fn new() -> Self {
        let tray = Tray::default();
        Self { zip: ZipWriter::new_stream(tray.clone()), tray }
    }

    /// Begins the next file in it.
    pub(super) fn begin(&mut self, name: &str) -> Result<()> {
        // A part may be of any size before it is packed.
        let options =
            SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).large_file(true);
        self.zip.start_file(name, options).map_err(broken)
    }

    pub(super) fn write(&mut self, text: &str) -> Result<()> {
        self.zip.write_all(text.as_bytes()).map_err(broken)
    }

    /// Writes the end of the ZIP.
    pub(super) fn finish(self: Box<Self>) -> Result<Tail> {
        self.zip.finish().map_err(broken)?;
        Ok(Tail(self.tray))
    }

    /// Takes away the pieces that are whole.
    pub(super) fn whole(&self) -> Vec<Vec<u8>> {
        self.tray.take(false)
    }
}

/// What is left when the ZIP is written.
pub(super) struct Tail(Tray);

impl Tail {
    /// The last pieces.
    pub(super) fn pieces(&self) -> Vec<Vec<u8>> {
        self.0.take(true)
    }
}

impl Tray {
    fn take(&self, all: bool) -> Vec<Vec<u8>> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut pieces = Vec::new();
        while waiting.len() >= PIECE {
            let rest = waiting.split_off(PIECE);
            pieces.push(mem::replace(&mut *waiting, rest));
        }
        if all && !waiting.is_empty() {
            pieces.push(mem::take(&mut *waiting));
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};

    use super::*;

    #[test]
    fn pieces_put_together_are_a_zip() {
        let mut archive = Box::new(Archive::new());
        let mut pieces = Vec::new();
        archive.begin("numbers.txt").unwrap();
        let mut wanted = String::new();
        for n in 0..60_000_u64 {
            // Text that does not pack well.
            let line = format!("{:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            archive.write(&line).unwrap();
            wanted.push_str(&line);
            pieces.extend(archive.whole());
        }
        archive.begin("empty.txt").unwrap();
        pieces.extend(archive.finish().unwrap().pieces());
        assert!(pieces.len() > 1 && pieces[..pieces.len() - 1].iter().all(|piece| piece.len() == PIECE));
        let mut zip = zip::ZipArchive::new(Cursor::new(pieces.concat())).unwrap();
        let mut text = String::new();
        zip.by_name("numbers.txt").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, wanted);
        assert_eq!(zip.by_name("empty.txt").unwrap().size(), 0);
    }
}
