//! `chancery keys csr` and `chancery keys set-certificate`.

use std::io::{self, Write};
use std::net::IpAddr;

use chancery_client::{AlternativeName, Client};
use clap::Args;
use serde::Serialize;
use x509_cert::Certificate;
use x509_cert::der::Encode as _;

use crate::exit::Failure;
use crate::input::Source;
use crate::names::{KeyOrVersionArgument, VersionArgument};
use crate::output::View;
use crate::view::keys::VersionView;

/// Arguments of `keys csr`.
#[derive(Debug, Args)]
pub struct Csr {
    /// RING/KEY for the primary version, or RING/KEY/VERSION
    key: KeyOrVersionArgument,
    /// Whom the certificate is to name, as RFC 4514 writes it
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    subject: String,
    /// A DNS name; may be repeated
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
    /// An IP address; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    ip: Vec<IpAddr>,
    /// A URI, for example a SPIFFE ID; may be repeated
    #[arg(long, value_name = "URI")]
    uri: Vec<String>,
    /// An e-mail address; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    email: Vec<String>,
}

/// Arguments of `keys set-certificate`.
#[derive(Debug, Args)]
pub struct SetCertificate {
    /// RING/KEY/VERSION
    #[arg(value_name = "VERSION")]
    key_version: VersionArgument,
    /// PEM files of certificates, together in order: the version's own, then each one's issuer; - for standard input
    #[arg(value_name = "FILE", required_unless_present = "none")]
    files: Vec<Source>,
    /// Take the version's certificates away
    #[arg(long, conflicts_with = "files")]
    none: bool,
}

/// A request for a certificate. As a table it is the PEM alone, so that it can go to a file.
#[derive(Debug, Serialize)]
pub struct CsrView {
    name: String,
    pem: String,
    record_index: u64,
}

impl View for CsrView {
    fn write_table(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.pem.as_bytes())
    }
}

impl Csr {
    /// Makes the request.
    pub async fn run(self, client: &Client) -> Result<CsrView, Failure> {
        let Self { key, subject, dns, ip, uri, email } = self;
        let names: Vec<AlternativeName> = dns
            .into_iter()
            .map(AlternativeName::Dns)
            .chain(ip.into_iter().map(AlternativeName::Ip))
            .chain(uri.into_iter().map(AlternativeName::Uri))
            .chain(email.into_iter().map(AlternativeName::Email))
            .collect();
        let request = client.create_certificate_signing_request(key, &subject, &names).await?;
        Ok(CsrView { name: request.version.to_string(), pem: request.pem, record_index: request.record_index })
    }
}

impl SetCertificate {
    /// Sets or takes away the certificates.
    pub async fn run(self, client: &Client) -> Result<VersionView, Failure> {
        let Self { key_version: VersionArgument(name), files, none: _ } = self;
        let mut chain = Vec::new();
        for file in files {
            let pem = file.read_message()?;
            let unusable = |error: &dyn std::fmt::Display| {
                Failure::local(format!("{file} holds something else than certificates in PEM: {error}"))
            };
            let certificates = Certificate::load_pem_chain(&pem).map_err(|error| unusable(&error))?;
            for certificate in certificates {
                chain.push(certificate.to_der().map_err(|error| unusable(&error))?);
            }
        }
        Ok(client.set_certificate_chain(&name, chain).await?.into())
    }
}
