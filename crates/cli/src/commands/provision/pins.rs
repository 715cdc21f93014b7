//! Where the PINs of these commands come from: files, descriptors, the terminal. Never arguments, never the environment.

use std::path::{Path, PathBuf};

use chancery_hsm::{Pin, PinSource};
use zeroize::Zeroizing;

use crate::exit::Failure;
use crate::input::hex;

/// One PIN that is needed.
#[derive(Debug)]
pub struct Wanted {
    /// What it is called: "SO PIN", "user PIN".
    pub name: &'static str,
    /// The file that was named.
    pub file: Option<PathBuf>,
    /// The descriptor that was named.
    pub descriptor: Option<u32>,
}

impl Wanted {
    /// Where it comes from: what was named, or else the terminal.
    pub fn source(&self) -> Result<PinSource, Failure> {
        Ok(match (&self.file, self.descriptor) {
            (Some(path), None) => PinSource::File(path.clone()),
            (None, Some(number)) => PinSource::Descriptor(number),
            (None, None) => PinSource::Terminal,
            (Some(_), Some(_)) => return Err(Failure::usage(format!("the {} has two sources; keep one", self.name))),
        })
    }

    /// Gets a PIN that is there already.
    pub fn get(&self, token: &str) -> Result<Pin, Failure> {
        read(&self.source()?, &format!("{} of token {token:?}", capital(self.name)))
    }

    /// Gets a PIN that is to be; one that is typed is typed twice.
    pub fn get_new(&self, token: &str) -> Result<Pin, Failure> {
        let source = self.source()?;
        let question = format!("New {} of token {token:?}", self.name);
        let pin = read(&source, &question)?;
        if source == PinSource::Terminal && !read(&source, &format!("{question}, again"))?.is_same_as(&pin) {
            return Err(Failure::local(format!("the two {}s differ; nothing was done", self.name)));
        }
        Ok(pin)
    }
}

/// Gets a PIN.
pub fn read(source: &PinSource, question: &str) -> Result<Pin, Failure> {
    source.read(question).map_err(|error| {
        let failure = Failure::local(error.to_string());
        match source {
            PinSource::Terminal => failure
                .hint("without a terminal, name a file or a descriptor: the options that end in -pin-file and -pin-fd"),
            PinSource::File(_) | PinSource::Credential(_) | PinSource::Descriptor(_) => failure,
        }
    })
}

/// 128 random bits in hexadecimal: a PIN that nobody has to type.
pub fn random_pin() -> Result<Pin, Failure> {
    let bytes: Zeroizing<[u8; 16]> = Zeroizing::new(
        chancery_crypto::random_bytes().map_err(|error| Failure::local("cannot make a PIN").because(error))?,
    );
    Ok(Pin::new(Zeroizing::new(hex(bytes.as_slice()))))
}

/// A PIN on its way into a file: it lies beside that file until the token has taken it.
#[derive(Debug)]
pub struct PinFile {
    path: PathBuf,
    waiting: PathBuf,
}

impl PinFile {
    /// Writes the PIN beside the file. Fails where one lies there already: nobody knows which of the two holds.
    pub fn prepare(path: &Path, pin: &Pin) -> Result<Self, Failure> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".next");
        let waiting = path.with_file_name(name);
        match pin.write_new_file(&waiting) {
            Ok(()) => Ok(Self { path: path.to_owned(), waiting }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Failure::local(format!(
                "{} is there: an earlier change of this PIN did not come to its end, and either that PIN holds or the one in {}",
                waiting.display(),
                path.display()
            ))
            .hint(format!(
                "find out which with one login (chancery token doctor --pin-file FILE); a token counts refusals. Then keep \
                 the right one as {}, and remove the other",
                path.display()
            ))),
            Err(error) => Err(Failure::file("write", &waiting, error)),
        }
    }

    /// The token has taken it: gives the file its name.
    pub fn keep(self) -> Result<PathBuf, Failure> {
        let Self { path, waiting } = self;
        std::fs::rename(&waiting, &path).and_then(|()| crate::files::sync_folder(&path)).map_err(|error| {
            Failure::file("rename", &waiting, error)
                .hint(format!("the token has taken the new PIN, which is in {}", waiting.display()))
        })?;
        Ok(path)
    }

    /// The token has not taken it.
    pub fn discard(self) -> Result<(), Failure> {
        std::fs::remove_file(&self.waiting).map_err(|error| Failure::file("remove", &self.waiting, error))
    }

    /// Nobody knows: what to say.
    pub fn both(&self) -> String {
        format!(
            "the old PIN is in {} and the new one in {}; find out which holds with one login (chancery token doctor \
             --pin-file FILE), keep it under the first name, and remove the other",
            self.path.display(),
            self.waiting.display()
        )
    }
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(text: &str) -> Pin {
        Pin::new(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn a_pin_file_is_replaced_only_by_a_pin_that_was_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        pin("old").write_new_file(&path).unwrap();

        PinFile::prepare(&path, &pin("refused")).unwrap().discard().unwrap();
        assert!(Pin::read_file(&path).unwrap().is_same_as(&pin("old")));
        PinFile::prepare(&path, &pin("new")).unwrap().keep().unwrap();
        assert!(Pin::read_file(&path).unwrap().is_same_as(&pin("new")));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

        let unknown = PinFile::prepare(&path, &pin("perhaps")).unwrap();
        assert!(unknown.both().contains("pin.next"));
        let (said, _) = PinFile::prepare(&path, &pin("another")).unwrap_err().report();
        assert!(said.contains("did not come to its end") && !said.contains("perhaps"), "{said}");
        assert!(Pin::read_file(&folder.path().join("pin.next")).unwrap().is_same_as(&pin("perhaps")));
    }

    #[test]
    fn no_pin_is_like_another() {
        assert!(!random_pin().unwrap().is_same_as(&random_pin().unwrap()));
    }

    #[test]
    fn two_sources_are_one_too_many() {
        let wanted = Wanted { name: "SO PIN", file: Some("/pin".into()), descriptor: Some(5) };
        assert!(wanted.source().unwrap_err().report().0.contains("SO PIN"));
        let typed = Wanted { name: "user PIN", file: None, descriptor: None };
        assert_eq!(typed.source().unwrap(), PinSource::Terminal);
    }
}
