//! Who is at the other end: from a client certificate to an identity, and from a header to an API key or an OIDC token. The
//! common name is never looked at.
//!
//! The certificate is read once, when the connection is made ([`Peer::new`]); what can change while a connection lives
//! for days is looked at again on each call ([`Peer::identify`]): the clock, the authorities we trust, and what they have
//! revoked.

mod bearer;

pub(crate) use bearer::{Bearer, take_bearer};

use crate::config::IdentityKind;
use crate::layers::HealthPlaces;
use crate::tls::{Authorities, Trust};
use arc_swap::ArcSwap;
use chancery_core::ClientCertificate;
use chancery_crypto::{CertificateNames, InvalidApiKey};
use chancery_model::{CertificateProof, Factor, Id, Identity, InvalidIdentity};
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;
use tokio::sync::watch;
use x509_cert::der::Decode;

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Address and port that the connection comes from.
    pub(crate) source: SocketAddr,
    /// What the certificate says, or why it names nobody.
    certificate: Result<PeerCertificate, Unidentified>,
    /// The certificate and what was sent with it, end entity first.
    chain: Vec<CertificateDer<'static>>,
    /// What the authorities said of the chain when they were last asked.
    trust: ArcSwap<Verdict>,
    /// True once the connection has been asked to go.
    leaving: watch::Sender<bool>,
    /// Whether a registered caller has called over it.
    used: AtomicBool,
    /// For its calls of the health service, which has no callers.
    pub(crate) health: HealthPlaces,
}

/// What the authorities of one generation said of a chain.
#[derive(Debug)]
struct Verdict {
    generation: u64,
    trust: Result<Trust, Unidentified>,
}

/// What a client certificate says, read once.
#[derive(Debug, Clone)]
pub(crate) struct PeerCertificate {
    /// The one identity, with the certificate's fingerprint and serial number.
    pub(crate) proof: CertificateProof,
    /// The certificate itself, by whose key its caller's signatures of requests are checked.
    pub(crate) whole: Arc<ClientCertificate>,
    kind: IdentityKind,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Why a call has no caller. The text and [`Unidentified::told`] are for the caller; [`Unidentified::reason`] is for record and
/// metrics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unidentified {
    #[error(
        "the connection has no client certificate and the call neither API key nor OIDC token; connect with the certificate of \
         a registered caller, or send one of these as authorization: Bearer"
    )]
    NoCertificate,
    #[error("the client certificate cannot be read as X.509 (RFC 5280); have it issued anew")]
    Unreadable,
    #[error("the client certificate has no {san}; have one issued with exactly one (the common name is not looked at)", san = san(*.0))]
    NoIdentity(IdentityKind),
    #[error("the client certificate has more than one {san}; have one issued with exactly one", san = san(*.0))]
    SeveralIdentities(IdentityKind),
    #[error("the client certificate's {san} cannot be used: {source}", san = san(*.kind))]
    MalformedIdentity { kind: IdentityKind, source: InvalidIdentity },
    #[error("the client certificate is not valid yet; check this machine's clock and the certificate's dates")]
    NotYetValid,
    #[error("the client certificate has expired; renew it")]
    Expired,
    #[error(
        "the client certificate's issuer is not, or no longer, trusted here; have one issued by a trusted authority"
    )]
    Untrusted,
    #[error("the client certificate was revoked by its issuer; have one issued anew")]
    Revoked,
    #[error(
        "the list of what the client certificate's issuer has revoked (CRL) is out of date here, so that none of its \
         certificates is accepted; the operator must put the next one there"
    )]
    CrlStale,
    #[error(
        "the list of what was revoked (CRL) says nothing here of an issuer of the client certificate's, so that it is not \
         accepted; the operator must add the CRL of every authority between it and the trusted one"
    )]
    RevocationUnknown,
    #[error(
        "the client certificate's issuer is configured with two kinds of identity; the operator must give it one \
         [[listener.client_ca]]"
    )]
    AmbiguousAuthority,
    #[error(
        "{0} is not registered here; ask whoever administers callers to register it (chancery callers create, or update)"
    )]
    Unregistered(Identity),
    #[error("callers/{0} is suspended; ask whoever administers callers (they can run: chancery callers resume)")]
    Suspended(Id),
    #[error(
        "the authorization header is not of the form Bearer ..., or there is more than one; send one API key or OIDC token"
    )]
    Authorization,
    #[error("what was sent as API key is none: {0}; send it as it was issued")]
    ApiKeyMalformed(InvalidApiKey),
    #[error("there is no such API key; check it, and ask whoever administers callers for another")]
    ApiKeyUnknown,
    #[error("the API key has expired; ask whoever administers callers for another (chancery api-keys issue)")]
    ApiKeyExpired,
    #[error("the API key was revoked; ask whoever administers callers why, and for another")]
    ApiKeyRevoked,
    #[error("the API key of callers/{0} is not for calls from this address; ask whoever administers callers")]
    ApiKeySource(Id),
    #[error("API keys cannot be checked now, because the token that is needed for it is away; try again")]
    ApiKeysUnavailable,
    #[error(
        "the OIDC token is not accepted here; check that it is for this service (aud), of an issuer that is configured here, \
         and has not expired: the service's record and metrics say what it is, and its operator can look there"
    )]
    OidcToken(chancery_oidc::Refused),
    #[error("OIDC tokens of this issuer cannot be checked now, because its keys could not be read; try again")]
    OidcKeysUnavailable,
    #[error(
        "the client certificate is that of callers/{0}, and the API key or OIDC token another caller's; send those of one caller"
    )]
    AnotherCaller(Id),
    #[error("what this call came with is no longer a credential of callers/{0}; ask whoever administers callers")]
    NoLongerTheirs(Id),
    #[error("callers/{caller} requires more than this call brings: {missing}", missing = missing(*.factor))]
    FactorMissing { caller: Id, factor: Factor },
}

impl Unidentified {
    /// A word for record and metrics.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Unreadable => "certificate_unreadable",
            Self::NoIdentity(_) => "certificate_without_identity",
            Self::SeveralIdentities(_) => "certificate_with_several_identities",
            Self::MalformedIdentity { .. } => "certificate_identity_malformed",
            Self::NotYetValid => "certificate_not_yet_valid",
            Self::Expired => "certificate_expired",
            Self::Untrusted => "certificate_authority_not_trusted",
            Self::Revoked => "certificate_revoked",
            Self::CrlStale => "certificate_crl_stale",
            Self::RevocationUnknown => "certificate_revocation_unknown",
            Self::AmbiguousAuthority => "certificate_authority_ambiguous",
            Self::Unregistered(_) => "caller_not_registered",
            Self::Suspended(_) => "caller_suspended",
            Self::Authorization => "authorization_not_understood",
            Self::ApiKeyMalformed(_) => "api_key_malformed",
            Self::ApiKeyUnknown => "api_key_unknown",
            Self::ApiKeyExpired => "api_key_expired",
            Self::ApiKeyRevoked => "api_key_revoked",
            Self::ApiKeySource(_) => "api_key_source",
            Self::ApiKeysUnavailable => "api_keys_unavailable",
            Self::OidcToken(refused) => refused.reason(),
            Self::OidcKeysUnavailable => chancery_oidc::Refused::KeysUnavailable.reason(),
            Self::AnotherCaller(_) => "credentials_of_different_callers",
            Self::NoLongerTheirs(_) => "credential_refused",
            Self::FactorMissing { .. } => "factor_missing",
        }
    }

    /// The word that the caller is told. What is wrong with a token is for its issuer and for us: whoever tries tokens out is
    /// to learn nothing by it.
    pub(crate) const fn told(&self) -> &'static str {
        match self {
            Self::OidcToken(_) => "oidc_token_refused",
            Self::OidcKeysUnavailable => "oidc_keys_unavailable",
            _ => self.reason(),
        }
    }
}

impl From<chancery_oidc::Refused> for Unidentified {
    fn from(refused: chancery_oidc::Refused) -> Self {
        match refused {
            chancery_oidc::Refused::KeysUnavailable => Self::OidcKeysUnavailable,
            refused => Self::OidcToken(refused),
        }
    }
}

const fn san(kind: IdentityKind) -> &'static str {
    match kind {
        IdentityKind::Spiffe => "URI subject alternative name (a SPIFFE id)",
        IdentityKind::Dns => "DNS subject alternative name",
    }
}

const fn missing(factor: Factor) -> &'static str {
    match factor {
        Factor::Certificate => "connect with a client certificate, too",
        Factor::ApiKey => "send an API key, too, as authorization: Bearer",
        Factor::OidcToken => "send an OIDC token, too, as authorization: Bearer",
    }
}

impl From<chancery_core::Unidentified> for Unidentified {
    fn from(unidentified: chancery_core::Unidentified) -> Self {
        use chancery_core::{ApiKeyState, Unidentified as Core};
        match unidentified {
            Core::NoCredential => Self::NoCertificate,
            Core::Unregistered(identity) => Self::Unregistered(identity),
            Core::ApiKeyUnknown => Self::ApiKeyUnknown,
            Core::ApiKeysUnavailable => Self::ApiKeysUnavailable,
            Core::AnotherCaller(caller) => Self::AnotherCaller(caller.id.clone()),
            Core::Suspended(caller) => Self::Suspended(caller.id.clone()),
            Core::NoLongerTheirs(caller) => Self::NoLongerTheirs(caller.id.clone()),
            Core::ApiKeyOver(_, ApiKeyState::Revoked) => Self::ApiKeyRevoked,
            Core::ApiKeyOver(_, ApiKeyState::Expired | ApiKeyState::Active) => Self::ApiKeyExpired,
            Core::OidcTokenOver(_) => Self::OidcToken(chancery_oidc::Refused::Expired),
            Core::ApiKeySource(caller) => Self::ApiKeySource(caller.id.clone()),
            Core::FactorMissing(caller, factor) => Self::FactorMissing { caller: caller.id.clone(), factor },
        }
    }
}

impl Peer {
    /// Reads the certificate of a connection whose handshake is done. `chain` is what the peer sent, end entity first.
    pub(crate) fn new(source: SocketAddr, chain: Vec<CertificateDer<'static>>, authorities: &Authorities) -> Self {
        let verdict = Verdict::of(&chain, authorities, SystemTime::now());
        let certificate = match (chain.first(), &verdict.trust) {
            (None, _) => Err(Unidentified::NoCertificate),
            (Some(_), Err(unidentified)) => Err(unidentified.clone()),
            (Some(end_entity), Ok(trust)) => PeerCertificate::read(end_entity, trust.kind),
        };
        let trust = ArcSwap::from_pointee(verdict);
        let leaving = watch::Sender::new(false);
        Self {
            source,
            certificate,
            chain,
            trust,
            leaving,
            used: AtomicBool::new(false),
            health: HealthPlaces::default(),
        }
    }

    /// The connection is asked to go: what is open on it without an end of its own is to end.
    pub(crate) fn leave(&self) {
        self.leaving.send_replace(true);
    }

    /// A call over the connection is that of a registered caller.
    pub(crate) fn has_caller(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    /// Whether there ever was such a call.
    pub(crate) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// Follows whether it has been asked to go.
    pub(crate) fn leaving(&self) -> watch::Receiver<bool> {
        self.leaving.subscribe()
    }

    /// The certificate's identity, where it holds at `now` and under the authorities trusted now.
    pub(crate) fn identify(
        &self,
        authorities: &Authorities,
        now: SystemTime,
    ) -> Result<&PeerCertificate, Unidentified> {
        let certificate = self.certificate.as_ref().map_err(Clone::clone)?;
        if now < certificate.not_before {
            return Err(Unidentified::NotYetValid);
        }
        if now > certificate.not_after {
            return Err(Unidentified::Expired);
        }
        // The authorities or their CRLs were read again since, or a certificate between them and this one has run out: once
        // for each connection and such event, the chain is checked anew.
        let mut verdict = arc_swap::Guard::into_inner(self.trust.load());
        let ran_out = verdict.trust.as_ref().is_ok_and(|trust| trust.ask_again.is_some_and(|at| now >= at));
        if ran_out || verdict.generation != authorities.generation() {
            verdict = Arc::new(Verdict::of(&self.chain, authorities, now));
            self.trust.store(Arc::clone(&verdict));
        }
        let trust = verdict.trust.as_ref().map_err(Clone::clone)?;
        if trust.kind != certificate.kind {
            return Err(Unidentified::Untrusted);
        }
        // A CRL goes out of date while nothing else changes.
        if trust.until.is_some_and(|until| now >= until) {
            return Err(Unidentified::CrlStale);
        }
        Ok(certificate)
    }
}

impl Verdict {
    fn of(chain: &[CertificateDer<'_>], authorities: &Authorities, now: SystemTime) -> Self {
        Self { generation: authorities.generation(), trust: authorities.trust(chain, now) }
    }
}

impl PeerCertificate {
    fn read(der: &CertificateDer<'_>, kind: IdentityKind) -> Result<Self, Unidentified> {
        let certificate = x509_cert::Certificate::from_der(der).or(Err(Unidentified::Unreadable))?;
        let tbs = certificate.tbs_certificate();
        let names = chancery_crypto::certificate_names(der).ok_or(Unidentified::Unreadable)?;
        let proof = CertificateProof {
            identity: the_one_identity(names, kind)?,
            fingerprint: chancery_crypto::sha256(der),
            serial: tbs.serial_number().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        let validity = tbs.validity();
        let (not_before, not_after) = (validity.not_before.to_system_time(), validity.not_after.to_system_time());
        let whole = Arc::new(ClientCertificate::new(der.to_vec()));
        Ok(Self { proof, whole, kind, not_before, not_after })
    }
}

/// Exactly one name of the kind that counts. Names of other kinds are allowed beside it and mean nothing (X.509-SVID,
/// section 2). `chancery_audit::verify_caller_signature` holds what is recorded to the same rule.
fn the_one_identity(names: CertificateNames, kind: IdentityKind) -> Result<Identity, Unidentified> {
    let CertificateNames { uris, dns_names } = names;
    let matching = match kind {
        IdentityKind::Spiffe => uris,
        IdentityKind::Dns => dns_names,
    };
    let name = match matching.as_slice() {
        [] => return Err(Unidentified::NoIdentity(kind)),
        [name] => name,
        [_, _, ..] => return Err(Unidentified::SeveralIdentities(kind)),
    };
    match kind {
        IdentityKind::Spiffe => Identity::spiffe_id(name),
        IdentityKind::Dns => Identity::dns_name(name),
    }
    .map_err(|source| Unidentified::MalformedIdentity { kind, source })
}

#[cfg(test)]
mod tests;
