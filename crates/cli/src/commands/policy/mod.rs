//! `chancery policy`: the policy set in force, its replacement, and what it decides and why.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery_api::v1;
use chancery_client::{Client, algorithm_to_proto};
use chancery_model::{Action, Algorithm};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::input::{Source, document_name};
use crate::names::{CallerArgument, ResourceArgument};
use crate::output::{Output, View};
use crate::view::policy::{ExplanationView, PolicySetView, ValidationView};

/// Reads, checks, applies and explains policy.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show the policy set in force, or write its documents into a folder
    #[command(after_long_help = "\
Examples:
  chancery policy get
  chancery policy get --dir policy/           # one file for each document, to edit and apply
  chancery policy get --output json | jq -r .etag")]
    Get(Get),
    /// Check policy documents without applying them; exit code 1 where they would be refused
    #[command(after_long_help = "\
Examples:
  chancery policy validate policy/*.cedar")]
    Validate(Validate),
    /// Replace the policy set in force by these documents, all of it
    #[command(after_long_help = "\
Without --etag, whatever set is in force when the command starts is replaced; with it, only the set that you have read.

Examples:
  chancery policy apply policy/*.cedar
  chancery policy apply roles.cedar --etag \"$ETAG\"")]
    Apply(Apply),
    /// Say what would be decided of a call, by which policies, and why; exit code 1 where it would be denied
    #[command(after_long_help = "\
Examples:
  chancery policy explain --caller billing --action Sign --resource dev/invoices
  chancery policy explain --caller billing --action CreateKey --resource dev/k --algorithm ED25519
  chancery policy explain --caller billing --action SignJwt --resource dev/jwt --lifetime 5m
  chancery policy explain --action ApplyPolicySet")]
    Explain(Explain),
}

/// Arguments of `policy get`.
#[derive(Debug, Args)]
pub struct Get {
    /// Write each document into this folder, under its name
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Arguments of `policy validate`.
#[derive(Debug, Args)]
pub struct Validate {
    /// Cedar policies: files, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    documents: Vec<Source>,
}

/// Arguments of `policy apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Cedar policies: files, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    documents: Vec<Source>,
    /// Only if the set in force still has this etag
    #[arg(long)]
    etag: Option<String>,
}

/// Arguments of `policy explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Who would call [default: yourself]
    #[arg(long, value_name = "CALLER")]
    caller: Option<CallerArgument>,
    /// What would be called
    #[arg(long, value_name = "ACTION", value_parser = super::action(), ignore_case = true)]
    action: Action,
    /// On what: RING, RING/KEY (it need not exist), RING/KEY/VERSION or tokens/TOKEN; nothing for the policy set and the record
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<ResourceArgument>,
    /// For a key that does not exist yet: its algorithm
    #[arg(long, value_name = "ALGORITHM", value_parser = super::algorithm(), ignore_case = true)]
    algorithm: Option<Algorithm>,
    /// For a key that does not exist yet: it would allow digests
    #[arg(long)]
    allow_digest: bool,
    /// For Sign: a digest would be signed, not a message
    #[arg(long)]
    digest: bool,
    /// The address that the call would come from
    #[arg(long, value_name = "IP")]
    source_address: Option<IpAddr>,
    /// For SignJwt: the token's claim iss
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
    /// For SignJwt: the token's claim sub
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// For SignJwt: one of the token's audiences; can be given several times
    #[arg(long = "audience", value_name = "TEXT")]
    audiences: Vec<String>,
    /// For SignJwt: from iat to exp, for example 5m [default: the key's longest]
    #[arg(long, value_name = "DURATION", value_parser = crate::duration::parse)]
    lifetime: Option<Duration>,
    /// For SignJwt: the header's typ [default: JWT]
    #[arg(long = "type", value_name = "TYPE")]
    token_type: Option<String>,
    /// For GenerateRandomBytes: how many [default: 1]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(i32).range(1..))]
    length: Option<i32>,
}

impl PolicyCommand {
    /// Runs the command.
    pub async fn run(self, client: &Client, out: &mut Output<'_>) -> Result<Exit, Failure> {
        match self {
            Self::Get(Get { dir }) => {
                let set = current(client).await?;
                match dir {
                    Some(dir) => {
                        out.show(&Written { files: write_documents(&set.documents, &dir)?, set: set.into() })?
                    }
                    None => out.show(&PolicySetView::from(set))?,
                }
                Ok(Exit::Done)
            }
            Self::Validate(Validate { documents }) => {
                let request = v1::ValidatePolicySetRequest { documents: read(&documents)? };
                let answer =
                    client.policy().validate_policy_set(request).await.map_err(|status| client.error(status))?;
                let view = ValidationView::from(answer.into_inner());
                out.show(&view)?;
                Ok(if view.valid { Exit::Done } else { Exit::No })
            }
            Self::Apply(Apply { documents, etag }) => {
                let documents = read(&documents)?;
                let etag = match etag {
                    Some(etag) => etag,
                    None => current(client).await?.etag,
                };
                let request = v1::ApplyPolicySetRequest { documents, etag };
                let set = client.policy().apply_policy_set(request).await.map_err(|status| client.error(status))?;
                out.show(&Applied(set.into_inner().into()))?;
                Ok(Exit::Done)
            }
            Self::Explain(arguments) => {
                let request = explain_request(arguments);
                let answer =
                    client.policy().explain_authorization(request).await.map_err(|status| client.error(status))?;
                let view = ExplanationView::from(answer.into_inner());
                out.show(&view)?;
                Ok(if view.allowed { Exit::Done } else { Exit::No })
            }
        }
    }
}

async fn current(client: &Client) -> Result<v1::PolicySet, Failure> {
    let answer = client.policy().get_policy_set(v1::GetPolicySetRequest {}).await;
    Ok(answer.map_err(|status| client.error(status))?.into_inner())
}

fn explain_request(arguments: Explain) -> v1::ExplainAuthorizationRequest {
    let Explain {
        caller,
        action,
        resource,
        algorithm,
        allow_digest,
        digest,
        source_address,
        issuer,
        subject,
        audiences,
        lifetime,
        token_type,
        length,
    } = arguments;
    let jwt = v1::HypotheticalJwt {
        issuer: issuer.unwrap_or_default(),
        subject: subject.unwrap_or_default(),
        audiences,
        lifetime: lifetime.and_then(|lifetime| lifetime.try_into().ok()),
        r#type: token_type.unwrap_or_default(),
    };
    v1::ExplainAuthorizationRequest {
        caller: caller.map(|CallerArgument(id)| format!("callers/{id}")).unwrap_or_default(),
        action: action.as_str().to_owned(),
        resource: resource.map(|ResourceArgument(name)| name).unwrap_or_default(),
        algorithm: algorithm.map_or(v1::Algorithm::Unspecified, algorithm_to_proto).into(),
        allow_digest,
        digest,
        source_address: source_address.map(|address| address.to_string()).unwrap_or_default(),
        jwt: Some(jwt),
        length: length.unwrap_or_default(),
    }
}

fn read(sources: &[Source]) -> Result<Vec<v1::PolicyDocument>, Failure> {
    let mut documents: Vec<v1::PolicyDocument> = Vec::with_capacity(sources.len());
    for source in sources {
        let name = document_name(source)?;
        if documents.iter().any(|document| document.name == name) {
            return Err(
                Failure::usage(format!("two of the documents are named {name}")).hint("rename one of the files")
            );
        }
        documents.push(v1::PolicyDocument { name, text: source.read_policy()? });
    }
    Ok(documents)
}

/// Writes each document under its name. The service promises names of [A-Za-z0-9._-]; what is else is not made a path.
fn write_documents(documents: &[v1::PolicyDocument], folder: &Path) -> Result<Vec<String>, Failure> {
    std::fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, error))?;
    let mut files = Vec::with_capacity(documents.len());
    for v1::PolicyDocument { name, text } in documents {
        let harmless = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if !harmless || name.bytes().all(|byte| byte == b'.') {
            return Err(Failure::failed(format!("the service names a document {name:?}, which is no file name")));
        }
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| Failure::file("write", &path, error))?;
        files.push(path.display().to_string());
    }
    Ok(files)
}

/// The documents, written into a folder.
#[derive(Serialize)]
struct Written {
    files: Vec<String>,
    #[serde(flatten)]
    set: PolicySetView,
}

impl View for Written {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        self.set.write_summary(out)?;
        self.files.iter().try_for_each(|file| writeln!(out, "wrote {file}"))
    }
}

/// The set that is in force now; the texts were just given.
#[derive(Serialize)]
#[serde(transparent)]
struct Applied(PolicySetView);

impl View for Applied {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.write_summary(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str) -> v1::PolicyDocument {
        v1::PolicyDocument { name: name.to_owned(), text: "// empty\n".to_owned() }
    }

    #[test]
    fn documents_are_written_under_their_names_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("policy");
        let files = write_documents(&[document("roles.cedar")], &inner).unwrap();
        assert_eq!(files, [inner.join("roles.cedar").display().to_string()]);
        assert_eq!(std::fs::read_to_string(inner.join("roles.cedar")).unwrap(), "// empty\n");
        for name in ["../x", "/x", "..", "."] {
            assert!(write_documents(&[document(name)], &inner).is_err(), "{name}");
        }
    }

    #[test]
    fn two_documents_of_one_name_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let source = |sub: &str| {
            let path = folder.path().join(sub).join("a.cedar");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            Source::File(path)
        };
        assert!(read(&[source("x"), source("y")]).is_err());
        assert_eq!(
            read(&[source("x")]).unwrap(),
            [v1::PolicyDocument { name: "a.cedar".to_owned(), text: String::new() }]
        );
    }

    #[test]
    fn a_question_is_asked_in_the_words_of_the_api() {
        let request = explain_request(Explain {
            caller: Some("billing".parse().unwrap()),
            action: Action::Sign,
            resource: Some("dev/k".parse().unwrap()),
            algorithm: None,
            allow_digest: false,
            digest: true,
            source_address: Some("::1".parse().unwrap()),
            issuer: Some("https://issuer.example".to_owned()),
            subject: None,
            audiences: vec!["a".to_owned(), "b".to_owned()],
            lifetime: Some(Duration::from_secs(300)),
            token_type: None,
            length: None,
        });
        assert_eq!((request.caller.as_str(), request.action.as_str()), ("callers/billing", "Sign"));
        assert_eq!((request.resource.as_str(), request.source_address.as_str()), ("keyRings/dev/keys/k", "::1"));
        assert_eq!((request.algorithm, request.digest), (0, true));
        let jwt = request.jwt.unwrap();
        assert_eq!((jwt.issuer.as_str(), jwt.audiences.len()), ("https://issuer.example", 2));
        assert_eq!(jwt.lifetime.unwrap().seconds, 300);
    }
}
