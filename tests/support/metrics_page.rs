//! What `/metrics` shows, taken apart: families with their types, and samples with their labels and exemplars.
//!
//! Reads both formats strictly: a line that is not one of theirs fails the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "the helpers of tests fail like tests")]

use std::collections::{BTreeMap, BTreeSet};

use chancery_testkit::Chancery;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A page of metrics.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Type of each family, by the name that its TYPE line says.
    pub types: BTreeMap<String, String>,
    /// Description of each family.
    pub help: BTreeMap<String, String>,
    /// All samples.
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The whole name, with `_total`, `_bucket` and the like.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
    /// The exemplar's labels.
    pub exemplar: BTreeMap<String, String>,
}

impl Page {
    /// Fetches and reads a page; `accept` is what is asked for. Answers the content type, too.
    pub async fn fetch(chancery: &Chancery, accept: &str) -> (String, Self) {
        let address = chancery.admin_endpoint().unwrap().strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET /metrics HTTP/1.1\r\nhost: {address}\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let content_type = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
        (content_type.to_owned(), Self::read(body))
    }

    /// Reads a page.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut page = Self::default();
        for line in text.lines() {
            match line.strip_prefix("# ") {
                Some("EOF") => {}
                Some(comment) => page.comment(comment),
                None => page.samples.push(sample(line)),
            }
        }
        page
    }

    fn comment(&mut self, comment: &str) {
        let mut words = comment.splitn(3, ' ');
        let (kind, family, rest) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
        let twice = match kind {
            "TYPE" => self.types.insert(family.to_owned(), rest.to_owned()),
            "HELP" => self.help.insert(family.to_owned(), rest.to_owned()),
            "UNIT" => None,
            _ => panic!("no comment of either format: # {comment}"),
        };
        assert_eq!(twice, None, "# {comment} comes twice");
    }

    /// The names of all samples.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&str> {
        self.samples.iter().map(|sample| sample.name.as_str()).collect()
    }

    /// The labels of all samples of a name.
    #[must_use]
    pub fn labels(&self, name: &str) -> BTreeSet<&str> {
        let samples = self.samples.iter().filter(|sample| sample.name == name);
        samples.flat_map(|sample| sample.labels.keys().map(String::as_str)).collect()
    }

    /// The sum of a name's samples that have all these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |sample: &&Sample| {
            labels.iter().all(|(label, value)| sample.labels.get(*label).map(String::as_str) == Some(*value))
        };
        self.samples.iter().filter(|sample| sample.name == name).filter(has).map(|sample| sample.value).sum()
    }

    /// The family that a sample belongs to, by the suffixes that its type has.
    #[must_use]
    pub fn family(&self, sample: &str) -> Option<&str> {
        let suffixes = ["", "_bucket", "_sum", "_count", "_total", "_info"];
        let family = suffixes.iter().filter_map(|suffix| sample.strip_suffix(suffix));
        family.filter_map(|family| self.types.get_key_value(family)).map(|(family, _)| family.as_str()).next()
    }
}

fn sample(line: &str) -> Sample {
    let (line, exemplar) = match line.split_once(" # ") {
        Some((line, exemplar)) => (line, exemplar_labels(exemplar)),
        None => (line, BTreeMap::new()),
    };
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels_of(labels.strip_suffix('}').expect("labels end"))),
        None => (series, BTreeMap::new()),
    };
    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
    Sample { name: name.to_owned(), labels, value: value.parse().unwrap(), exemplar }
}

fn exemplar_labels(exemplar: &str) -> BTreeMap<String, String> {
    let (labels, rest) = exemplar.strip_prefix('{').unwrap().split_once("} ").unwrap();
    let numbers: Vec<f64> = rest.split(' ').map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers.len(), 2, "a value and a time: {exemplar}");
    labels_of(labels)
}

/// `name="value",...`; the values here have no comma and no escaped quote.
fn labels_of(text: &str) -> BTreeMap<String, String> {
    text.split("\",")
        .filter(|label| !label.is_empty())
        .map(|label| {
            let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("no label: {label}"));
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        })
        .collect()
}
