//! A folder of policy documents, as a team keeps it in git: `*.cedar` are the documents of one policy set, whatever else
//! is there is not ours. Beside them a small file remembers which set the folder was read from.

use std::fs;
use std::path::{Path, PathBuf};

use chancery_api::v1;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;
use crate::files;
use crate::input::Source;

/// Which set the folder was read from. It says something of this copy of the folder, so it is not for git.
const STATE: &str = ".chancery-policy.toml";
/// What the names of documents end in.
const ENDING: &str = ".cedar";

/// A folder of policy documents.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// The set in force when the folder was read or applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Its etag: `policy apply` replaces only this set.
    pub etag: String,
    /// Its version.
    pub version: u64,
    /// Its hash, in hexadecimal.
    pub sha256: String,
    /// The names of its documents: what of them is no longer in the set may be removed.
    pub documents: Vec<String>,
}

/// What writing a set into a folder did, by names of documents.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    /// New, or with another text than before.
    pub written: Vec<String>,
    /// As they were.
    pub unchanged: Vec<String>,
    /// Documents of an earlier set, now removed.
    pub removed: Vec<String>,
    /// Documents that are in the folder and not in the set.
    pub left: Vec<String>,
    /// Documents of the set that are not read back from a folder, because their names do not end in .cedar.
    pub not_read_back: Vec<String>,
}

impl Folder {
    /// A folder that need not exist yet.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The one folder that is given; none where files are.
    pub fn of(sources: &[Source]) -> Option<Self> {
        match sources {
            [Source::File(path)] if path.is_dir() => Some(Self(path.clone())),
            _ => None,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The names of its documents, sorted.
    pub fn names(&self) -> Result<Vec<String>, Failure> {
        let unreadable = |error| Failure::file("read", &self.0, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(name) = name.filter(|name| name.ends_with(ENDING) && !name.starts_with('.'))
                && path.is_file()
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Its documents, sorted by name.
    pub fn documents(&self) -> Result<Vec<v1::PolicyDocument>, Failure> {
        let names = self.names()?;
        if names.is_empty() {
            return Err(Failure::local(format!("{} holds no policy documents (*{ENDING})", self.0.display()))
                .hint("`chancery policy init DIR` makes a folder to begin with"));
        }
        let document = |name: String| {
            let text = Source::File(self.0.join(&name)).read_policy()?;
            Ok(v1::PolicyDocument { name, text })
        };
        names.into_iter().map(document).collect()
    }

    /// Writes the documents of a set, each under its name; a file that says the same already is not touched. With `prune`
    /// removes documents that are in the folder and not in the set.
    pub fn write(&self, documents: &[v1::PolicyDocument], prune: bool) -> Result<Written, Failure> {
        if let Some(name) = documents.iter().map(|document| &document.name).find(|name| !is_file_name(name)) {
            return Err(Failure::failed(format!("the service names a document {name:?}, which is no file name")));
        }
        fs::create_dir_all(&self.0).map_err(|error| Failure::file("create", &self.0, error))?;
        let mut done = Written::default();
        for v1::PolicyDocument { name, text } in documents {
            let path = self.0.join(name);
            if fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
                done.unchanged.push(name.clone());
            } else {
                files::replace(&path, text.as_bytes())?;
                done.written.push(name.clone());
            }
            if !name.ends_with(ENDING) {
                done.not_read_back.push(name.clone());
            }
        }
        for name in self.names()? {
            if documents.iter().any(|document| document.name == name) {
                continue;
            }
            if prune {
                let path = self.0.join(&name);
                fs::remove_file(&path).map_err(|error| Failure::file("remove", &path, error))?;
                done.removed.push(name);
            } else {
                done.left.push(name);
            }
        }
        Ok(done)
    }

    /// Remembers that the folder is as this set.
    pub fn remember(&self, set: &v1::PolicySet) -> Result<(), Failure> {
        let state = State {
            etag: set.etag.clone(),
            version: set.version,
            sha256: crate::input::hex(&set.sha256),
            documents: set.documents.iter().map(|document| document.name.clone()).collect(),
        };
        let path = self.0.join(STATE);
        let text = toml::to_string(&state).map_err(|error| Failure::local("cannot write TOML").because(error))?;
        let text = format!(
            "# Written by chancery: the policy set that this copy of the folder was read from. Not for git.\n{text}"
        );
        files::replace(&path, text.as_bytes())
    }

    /// What the folder was read from; nothing where it was not.
    pub fn state(&self) -> Result<Option<State>, Failure> {
        let path = self.0.join(STATE);
        match fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map(Some).map_err(|error| {
                Failure::local(format!("{} cannot be read", path.display()))
                    .because(error)
                    .hint("remove it, or read the folder anew with `chancery policy get --dir`")
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::file("read", &path, error)),
        }
    }
}

/// The documents of files, standard input and folders, in the order given.
pub fn read(sources: &[Source]) -> Result<Vec<v1::PolicyDocument>, Failure> {
    let mut documents: Vec<v1::PolicyDocument> = Vec::with_capacity(sources.len());
    for source in sources {
        let found = match Folder::of(std::slice::from_ref(source)) {
            Some(folder) => folder.documents()?,
            None => {
                let name = crate::input::document_name(source)?;
                vec![v1::PolicyDocument { name, text: source.read_policy()? }]
            }
        };
        for document in found {
            if documents.iter().any(|other| other.name == document.name) {
                let message = format!("two of the documents are named {}", document.name);
                return Err(Failure::usage(message).hint("rename one of the files"));
            }
            documents.push(document);
        }
    }
    Ok(documents)
}

/// The service promises names of [A-Za-z0-9._-]; what is else is not made a path.
fn is_file_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && !name.starts_with('.')
        && !name.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, text: &str) -> v1::PolicyDocument {
        v1::PolicyDocument { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_set_is_written_exactly_and_what_is_not_ours_is_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(&place.path().join("policy"));
        let set = [document("a.cedar", "// a, without a line feed"), document("b.cedar", "\r\n\u{feff}ä\n\n")];
        let done = folder.write(&set, false).unwrap();
        assert_eq!(done.written, ["a.cedar", "b.cedar"]);
        assert_eq!(folder.documents().unwrap(), set);
        let touched = fs::metadata(folder.path().join("a.cedar")).unwrap().modified().unwrap();

        for (name, text) in [("README.md", "mine"), (".hidden.cedar", "mine"), ("old.cedar", "// old")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        fs::create_dir(folder.path().join("folder.cedar")).unwrap();
        let changed = [set[0].clone(), document("b.cedar", "// b\n")];
        let done = folder.write(&changed, false).unwrap();
        assert_eq!(
            (&done.written[..], &done.unchanged[..]),
            (&["b.cedar".to_owned()][..], &["a.cedar".to_owned()][..])
        );
        assert_eq!((&done.left[..], &done.removed[..]), (&["old.cedar".to_owned()][..], &[][..]));
        assert_eq!(fs::metadata(folder.path().join("a.cedar")).unwrap().modified().unwrap(), touched);

        let done = folder.write(&changed, true).unwrap();
        assert_eq!(done.removed, ["old.cedar"]);
        assert!(folder.path().join("README.md").exists() && folder.path().join(".hidden.cedar").exists());
        assert!(folder.path().join("folder.cedar").exists());
        assert_eq!(folder.documents().unwrap(), changed);
    }

    #[test]
    fn nothing_is_written_outside_of_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(&place.path().join("policy"));
        for name in ["../x", "/x", "..", ".", "", ".chancery-policy.toml", "a/b.cedar"] {
            assert!(folder.write(&[document("a.cedar", ""), document(name, "")], false).is_err(), "{name}");
        }
        assert!(!folder.path().exists(), "all names are looked at before anything is written");
        let done = folder.write(&[document("odd.txt", "")], false).unwrap();
        assert_eq!(done.not_read_back, ["odd.txt"]);
        assert!(folder.documents().is_err(), "a folder without documents is no empty policy set");
    }

    #[test]
    fn the_folder_knows_which_set_it_was_read_from() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::at(place.path());
        assert_eq!(folder.state().unwrap(), None);
        let set = v1::PolicySet {
            documents: vec![document("a.cedar", "")],
            version: 3,
            sha256: vec![0xab; 32],
            etag: "e\"1".to_owned(),
            ..v1::PolicySet::default()
        };
        folder.remember(&set).unwrap();
        let state = folder.state().unwrap().unwrap();
        assert_eq!(
            (state.etag.as_str(), state.version, state.documents.as_slice()),
            ("e\"1", 3, &["a.cedar".to_owned()][..])
        );
        assert_eq!(folder.names().unwrap(), [] as [&str; 0], "what is remembered is no document");
        fs::write(place.path().join(STATE), "etag = 1").unwrap();
        assert!(folder.state().is_err());
    }

    #[test]
    fn files_and_folders_make_one_set_and_two_documents_of_one_name_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let (one, two) = (Folder::at(&place.path().join("one")), place.path().join("b.cedar"));
        one.write(&[document("a.cedar", "// a")], false).unwrap();
        fs::write(&two, "// b").unwrap();
        let given = [Source::File(one.path().to_owned()), Source::File(two.clone())];
        assert_eq!(read(&given).unwrap(), [document("a.cedar", "// a"), document("b.cedar", "// b")]);
        assert!(read(&[given[1].clone(), given[1].clone()]).is_err());
        assert!(Folder::of(&given).is_none());
        assert!(Folder::of(&given[..1]).is_some());
    }
}
