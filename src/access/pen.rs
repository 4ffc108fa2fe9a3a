//! A file, and what stands at its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Which file it is, by device and number, wherever its names lead.
#[derive(Clone, Debug)]
pub(super) struct Place(Arc<Mutex<(u64, u64)>>);

impl Place {
    fn new(file: &File) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(identity(file)?))))
    }

    fn get(&self) -> (u64, u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, identity: (u64, u64)) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    let data = file.metadata()?;
    Ok((data.dev(), data.ino()))
}

/// Opens a file to add to it, and waits for nobody.
///
/// A pipe is opened for reading too, as syslog daemons do: it then needs no reader yet, and holds what is written
/// until one comes back. A file is looked at, whether it ends within a line.
fn open(path: &Path) -> io::Result<(File, Option<Made>)> {
    let waits_not = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
    let options = |read| {
        let mut options = OpenOptions::new();
        options.read(read).append(true).custom_flags(waits_not);
        options
    };
    // One that is made here is known to be, unless a link leads to where there is none yet.
    if let Ok(file) = options(true).create_new(true).open(path) {
        let made = Made { path: path.to_owned(), identity: identity(&file)? };
        return Ok((file, Some(made)));
    }
    let file = match options(true).create(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            options(false).create(true).open(path)?
        }
        other => other?,
    };
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok((file, None))
}

/// A file that was not there before it was opened.
#[derive(Debug)]
pub(super) struct Made {
    path: PathBuf,
    identity: (u64, u64),
}

impl Made {
    /// Has it gone again, unless somebody has written to it or has put another one in its place.
    pub(super) fn remove(self) {
        let untouched = |data: &fs::Metadata| (data.dev(), data.ino()) == self.identity && data.len() == 0;
        if fs::symlink_metadata(&self.path).is_ok_and(|data| untouched(&data))
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("access log: {} cannot be removed again: {error}", self.path.display());
        }
    }
}

pub(super) struct Pen {
    out: File,
    /// The name that it was asked for by; `None`: standard output.
    path: Option<PathBuf>,
    place: Place,
    /// Nothing was written yet, so that nobody knows where what is there ends.
    fresh: bool,
    /// The last write ended within a line.
    broken: bool,
}

impl Pen {
    /// One, and the file if it was made for it; without a path it is standard output.
    pub(super) fn new(path: Option<&Path>) -> io::Result<(Self, Option<Made>)> {
        let (out, made) = match path {
            Some(path) => open(path)?,
            None => (File::from(io::stdout().as_fd().try_clone_to_owned()?), None),
        };
        let place = Place::new(&out)?;
        Ok((Self { out, path: path.map(Path::to_owned), place, fresh: true, broken: false }, made))
    }

    pub(super) fn place(&self) -> Place {
        self.place.clone()
    }

    pub(super) fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path).and_then(|(file, _)| Ok((identity(&file)?, file))) {
            Ok((identity, file)) => {
                // A pipe that is the same one is still within its line.
                self.broken &= identity == self.place.get();
                self.place.set(identity);
                (self.out, self.fresh) = (file, true);
                log::info!("access log: {} opened again", path.display());
            }
            Err(error) => {
                log::error!(
                    "access log: {} cannot be opened again, the old file stays: {error}",
                    path.display()
                );
            }
        }
    }

    /// Writes whole lines, of which so many bytes are written already, or says why not: then it may be tried again.
    pub(super) fn write(&mut self, bytes: &[u8], written: &mut usize) -> io::Result<()> {
        let within = (self.fresh || self.broken) && self.is_within_line();
        let torn = bytes[..*written].last().is_some_and(|&byte| byte != b'\n');
        if within && !(torn && self.broken) {
            self.put(b"\n").map_err(|(_, error)| error)?;
        }
        if torn && !(within && self.broken) {
            // What was written of the line is elsewhere, or was emptied out.
            *written = memchr::memrchr(b'\n', &bytes[..*written]).map_or(0, |at| at + 1);
        }
        (self.fresh, self.broken) = (false, false);
        let put = self.put(&bytes[*written..]);
        *written = put.as_ref().map_or_else(|(more, _)| *written + more, |()| bytes.len());
        self.broken = bytes[..*written].last().is_some_and(|&byte| byte != b'\n');
        put.map_err(|(_, error)| error)
    }

    /// A file may have been emptied since; of anything else only what was written here is known.
    fn is_within_line(&self) -> bool {
        self.last_byte().map_or(self.broken, |last| last != b'\n')
    }

    /// Of a file; an empty one is at the beginning of a line.
    fn last_byte(&self) -> Option<u8> {
        let data = self.out.metadata().ok().filter(|data| data.is_file())?;
        let mut last = [b'\n'];
        match data.len().checked_sub(1) {
            None => Some(b'\n'),
            Some(at) => (self.out.read_at(&mut last, at).ok()? == 1).then_some(last[0]),
        }
    }

    /// Writes all of it, or says how much was written before the error.
    fn put(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.out.write(&bytes[written..]) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Standard output that somebody else has made so.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pen(name: &str, text: &str) -> (Pen, PathBuf) {
        let path = std::env::temp_dir().join(format!("evenkeel-{name}-{}", std::process::id()));
        std::fs::write(&path, text).expect("a file");
        (Pen::new(Some(&path)).expect("a file").0, path)
    }

    /// Writes a line behind `text`; what the file is then.
    fn written_behind(text: &str, prepare: impl FnOnce(&mut Pen)) -> String {
        let (mut pen, path) = pen("behind", text);
        prepare(&mut pen);
        pen.write(b"line\n", &mut 0).expect("written");
        pen.write(b"next\n", &mut 0).expect("written");
        let text = std::fs::read_to_string(&path).expect("the file");
        let _ = std::fs::remove_file(path);
        text
    }

    #[test]
    fn a_line_that_broke_off_does_not_take_the_next_one_with_it() {
        for (text, right) in
            [("", "line\nnext\n"), ("old\n", "old\nline\nnext\n"), ("half", "half\nline\nnext\n")]
        {
            assert_eq!(written_behind(text, |_| {}), right, "found so");
            assert_eq!(
                written_behind(text, |pen| pen.fresh = false),
                format!("{text}line\nnext\n"),
                "known whole"
            );
            assert_eq!(
                written_behind(text, |pen| (pen.fresh, pen.broken) = (false, true)),
                right,
                "broken off"
            );
            assert_eq!(written_behind(text, Pen::reopen), right, "opened again");
        }
    }

    #[test]
    fn a_line_that_broke_off_goes_on_where_that_is_and_begins_anew_elsewhere() {
        for (text, prepare, right) in [
            ("one\ntw", (|_, _| {}) as fn(&mut Pen, &Path), "one\ntwo\nthree\n"),
            ("one\ntw", |_, path| fs::write(path, "").expect("emptied"), "two\nthree\n"),
            ("one\ntw", |pen, _| pen.reopen(), "one\ntwo\nthree\n"),
            ("one\n", |_, path| fs::write(path, "old").expect("another's"), "old\ntwo\nthree\n"),
            (
                "one\ntw",
                |pen, path| {
                    fs::rename(path, path.with_extension("old")).expect("renamed");
                    pen.reopen();
                },
                "two\nthree\n",
            ),
        ] {
            let (mut pen, path) = pen("torn", text);
            (pen.fresh, pen.broken) = (false, !text.ends_with('\n'));
            if !pen.broken {
                pen.fresh = true;
            }
            prepare(&mut pen, &path);
            pen.write(b"one\ntwo\nthree\n", &mut text.len()).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("the file"), right, "{text:?}");
            let _ = (fs::remove_file(path.with_extension("old")), fs::remove_file(path));
        }
    }

    #[test]
    fn a_pipe_without_a_reader_is_opened_and_holds_what_it_can() {
        let path = std::env::temp_dir().join(format!("evenkeel-pipe-{}", std::process::id()));
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        let mut pen = Pen::new(Some(&path)).expect("open without a reader").0;
        pen.write(b"line\n", &mut 0).expect("written");
        let mut reader = File::open(&path).expect("a reader");
        let mut read = [0; 5];
        io::Read::read_exact(&mut reader, &mut read).expect("the line");
        assert_eq!(&read, b"line\n");
        let _ = std::fs::remove_file(path);
    }

    #[test]
    fn a_file_that_was_made_is_removed_again_and_no_other() {
        let (_, path) = pen("made", "");
        assert!(Pen::new(Some(&path)).expect("a file").1.is_none(), "it was there");
        let make = || {
            let _ = fs::remove_file(&path);
            Pen::new(Some(&path)).expect("a file").1.expect("it was not there")
        };
        make().remove();
        assert!(!path.exists());
        let made = make();
        fs::write(&path, "line\n").expect("written");
        made.remove();
        assert_eq!(fs::read_to_string(&path).expect("it stays"), "line\n");
        let made = make();
        fs::rename(&path, path.with_extension("old")).expect("renamed");
        fs::write(&path, "").expect("another one");
        made.remove();
        assert!(path.exists());
        let _ = (fs::remove_file(path.with_extension("old")), fs::remove_file(path));
    }

    #[test]
    fn a_place_is_known_by_any_of_its_names() {
        let (one, path) = pen("place", "");
        let link = path.with_extension("link");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&path, &link).expect("a link");
        let other = Pen::new(Some(&link)).expect("the same file").0;
        assert!(one.place().is(&other.place()));
        assert!(!one.place().is(&Pen::new(None).expect("standard output").0.place()));
        let _ = (std::fs::remove_file(path), std::fs::remove_file(link));
    }
}
