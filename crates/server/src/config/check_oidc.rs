//! What can be found out about `[[listener.oidc]]` before anything is started with it.

use super::check::Report;
use super::{ClientAuth, Config, Oidc};
use chancery_model::{Id, Identity};
use std::collections::BTreeSet;
use std::time::Duration;

/// A token that is good for so long after its end is no token with an end.
const MOST_LEEWAY: Duration = Duration::from_secs(300);

impl Report {
    pub(super) fn oidc(&mut self, config: &Config) {
        let issuers = &config.listener.oidc;
        let mut seen = BTreeSet::new();
        for oidc in issuers {
            let field = |name: &str| format!("listener.oidc.{name}");
            let issuer = &oidc.issuer;
            if let Err(error) = Identity::oidc(issuer, "subject") {
                self.error(field("issuer"), format!("{issuer:?}: {error}"));
            }
            if !seen.insert(issuer) {
                let message = format!("{issuer} is given twice; give it one [[listener.oidc]], with all its audiences");
                self.error(field("issuer"), message);
            }
            if oidc.audiences.is_empty() || oidc.audiences.contains("") {
                let message = format!(
                    "{issuer} has no audience, or an empty one, so that its tokens for others would be taken; name this \
                     service's own, which callers ask the issuer for"
                );
                self.error(field("audiences"), message);
            }
            if oidc.algorithms.is_empty() {
                self.error(
                    field("algorithms"),
                    format!("{issuer} has none, so that no token would be accepted; add one"),
                );
            }
            if oidc.clock_leeway > MOST_LEEWAY {
                let most = MOST_LEEWAY.as_secs();
                let message =
                    format!("lengthens each token's life by as much; set the clocks, and allow at most {most}");
                self.error(field("clock_leeway_seconds"), message);
            }
            if oidc.max_stale < oidc.refresh() {
                let message =
                    "is shorter than refresh_seconds, so that keys are too old before they are read again; raise it";
                self.error(field("max_stale_seconds"), message);
            }
            if matches!(oidc.subject_claim.as_str(), "" | "iss" | "aud" | "jti") {
                let message = format!("{:?} names nobody; write \"sub\"", oidc.subject_claim);
                self.error(field("subject_claim"), message);
            }
            self.oidc_keys(oidc);
        }
        if !issuers.is_empty() && config.listener.client_auth == ClientAuth::Required {
            let message = "tokens count only beside a client certificate, since listener.client_auth is \"required\"; write \
                           \"optional\" unless that is meant";
            self.warning("listener.oidc", message);
        }
    }

    fn oidc_keys(&mut self, oidc: &Oidc) {
        let Oidc { issuer, jwks_file, jwks_url, jwks_ca, jwks_token_file, refresh, .. } = oidc;
        let field = |name: &str| format!("listener.oidc.{name}");
        match (jwks_file, jwks_url) {
            (Some(_), Some(_)) | (None, None) => {
                let message =
                    format!("where the keys of {issuer} are is said by one of jwks_file and jwks_url; give one");
                self.error(field("jwks_file"), message);
            }
            (Some(file), None) => {
                if jwks_ca.is_some() || jwks_token_file.is_some() || refresh.is_some() {
                    let message = "goes without jwks_ca, jwks_token_file and refresh_seconds, which are for jwks_url (a file is \
                                   looked at every 3 seconds); remove them";
                    self.error(field("jwks_file"), message);
                }
                // One that is not there has been spoken of.
                if self.file(&field("jwks_file"), file).is_some()
                    && let Err(error) = chancery_oidc::check_key_file(file)
                {
                    self.error(field("jwks_file"), format!("{error}"));
                }
            }
            (None, Some(_)) => match jwks_ca {
                None => {
                    let message = format!("whom to trust with the keys of {issuer} is not said; name a PEM file");
                    self.error(field("jwks_ca"), message);
                }
                Some(ca) => {
                    self.readable(&field("jwks_ca"), ca);
                    if let Some(token) = jwks_token_file {
                        self.readable(&field("jwks_token_file"), token);
                    }
                }
            },
        }
    }

    /// An identity of a caller that no issuer, or authority, vouches for.
    pub(super) fn unvouched(&mut self, config: &Config, caller: &Id, identity: &Identity) {
        let message = match identity {
            Identity::Oidc { issuer, .. } => {
                if config.listener.oidc.iter().any(|oidc| oidc.issuer == *issuer) {
                    return;
                }
                format!("no [[listener.oidc]] is the issuer of {identity}, which has to be the same to the letter")
            }
            Identity::SpiffeId(_) | Identity::DnsName(_) => {
                if config.listener.client_cas.iter().any(|authority| super::check::names(authority.identity, identity))
                {
                    return;
                }
                format!("no [[listener.client_ca]] issues certificates with an identity like {identity}")
            }
        };
        self.warning(format!("caller.{caller}.identities"), message);
    }
}
