//! From credentials to the caller whose they are.

use std::net::IpAddr;
use std::sync::Arc;

use chancery_crypto::ApiKeyText;
use chancery_model::{ApiKeyProof, Authentication, Caller, CertificateProof, Factor, Identity, OidcProof};

use crate::Chancery;
use crate::api_keys::ApiKeyState;

/// What a call brings in its `authorization` header.
#[derive(Debug, Clone, Copy)]
pub enum Bearer<'a> {
    /// An API key, not yet checked.
    ApiKey(&'a ApiKeyText),
    /// What a token of an OpenID Connect issuer proves, which has been verified.
    OidcToken(&'a OidcProof),
}

/// The same, checked, with the caller whose it is.
enum Checked {
    ApiKey(ApiKeyProof),
    OidcToken(OidcProof),
}

/// Why credentials let nobody in.
#[derive(Debug, Clone)]
pub enum Unidentified {
    /// There is neither a certificate nor an API key nor an OIDC token.
    NoCredential,
    /// No registered caller has this identity.
    Unregistered(Identity),
    /// There is no such API key: id or secret is wrong, which is not told apart.
    ApiKeyUnknown,
    /// Whether it is an API key cannot be said now: the token that is needed for it is away.
    ApiKeysUnavailable,
    /// The certificate and what comes with the call are of different callers; this one's is the certificate.
    AnotherCaller(Arc<Caller>),
    /// The caller is suspended.
    Suspended(Arc<Caller>),
    /// The credential was the caller's, and is no longer.
    NoLongerTheirs(Arc<Caller>),
    /// The API key is expired or revoked.
    ApiKeyOver(Arc<Caller>, ApiKeyState),
    /// The OIDC token has expired since it was verified.
    OidcTokenOver(Arc<Caller>),
    /// The API key is for other addresses than the one the call comes from.
    ApiKeySource(Arc<Caller>),
    /// The caller requires a factor that the call does not bring.
    FactorMissing(Arc<Caller>, Factor),
}

impl Chancery {
    /// The caller whose these credentials are, and how they proved it. Everything that holds of an API key itself (its time,
    /// its addresses) is said only to who has its secret.
    ///
    /// # Errors
    /// [`Unidentified`].
    pub fn authenticate(
        &self,
        certificate: Option<&CertificateProof>,
        bearer: Option<Bearer<'_>>,
        source: Option<IpAddr>,
    ) -> Result<(Arc<Caller>, Authentication), Unidentified> {
        let snapshot = self.snapshot();
        let registered = |identity: &Identity| {
            let caller = snapshot.callers.by_identity(identity);
            caller.ok_or_else(|| Unidentified::Unregistered(identity.clone()))
        };
        let by_bearer = match bearer {
            None => None,
            Some(Bearer::ApiKey(key)) => {
                let key = self.check_api_key(&snapshot, key)?;
                let caller = snapshot.callers.by_uid(key.caller_uid).ok_or(Unidentified::ApiKeyUnknown)?;
                Some((caller, Checked::ApiKey(ApiKeyProof { id: key.id, uid: key.uid })))
            }
            Some(Bearer::OidcToken(proof)) => Some((registered(&proof.identity)?, Checked::OidcToken(proof.clone()))),
        };
        let by_certificate = match certificate {
            None => None,
            Some(proof) => Some((registered(&proof.identity)?, proof.clone())),
        };
        let (caller, authentication) = match (by_certificate, by_bearer) {
            (None, None) => return Err(Unidentified::NoCredential),
            (Some((caller, proof)), None) => (caller, Authentication::Certificate(proof)),
            (None, Some((caller, Checked::ApiKey(key)))) => (caller, Authentication::ApiKey(key)),
            (None, Some((caller, Checked::OidcToken(token)))) => (caller, Authentication::OidcToken(token)),
            (Some((caller, _)), Some((other, _))) if caller.uid != other.uid => {
                return Err(Unidentified::AnotherCaller(Arc::clone(caller)));
            }
            (Some((caller, proof)), Some((_, Checked::ApiKey(key)))) => {
                (caller, Authentication::CertificateAndApiKey(proof, key))
            }
            (Some((caller, proof)), Some((_, Checked::OidcToken(token)))) => {
                (caller, Authentication::CertificateAndOidcToken(proof, token))
            }
        };
        snapshot.holds(caller, &authentication, source)?;
        self.note_use(&authentication);
        Ok((Arc::clone(caller), authentication))
    }

    /// The caller of a stream as it is now, where what it proved when the stream was opened still holds. Looking is no use of
    /// an API key: see [`Chancery::note_use`].
    ///
    /// # Errors
    /// [`Unidentified`].
    pub fn still_authenticated(
        &self,
        caller: &Arc<Caller>,
        authentication: &Authentication,
        source: Option<IpAddr>,
    ) -> Result<Arc<Caller>, Unidentified> {
        let snapshot = self.snapshot();
        let now = snapshot.callers.by_uid(caller.uid);
        let now = now.ok_or_else(|| Unidentified::NoLongerTheirs(Arc::clone(caller)))?;
        snapshot.holds(now, authentication, source)?;
        Ok(Arc::clone(now))
    }

    /// Notes that something is asked for with this: when an API key was last used is shown.
    pub fn note_use(&self, authentication: &Authentication) {
        if let Some(key) = authentication.api_key() {
            self.note_api_key_use(key);
        }
    }
}
