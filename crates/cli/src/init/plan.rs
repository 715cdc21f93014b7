//! All that a configuration for production says, and what must hold within it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use chancery_model::{Id, Role};
use chancery_server::config::IdentityKind;
use clap::ValueEnum;

use super::entries::{CallerEntry, RingEntry, TokenEntry};

/// What is to be written.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The instance's name in the record.
    pub instance: Id,
    /// The environment of rings and callers that name none.
    pub environment: Id,
    /// Where callers connect.
    pub listen: SocketAddr,
    /// The service's certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub private_key: PathBuf,
    /// The authorities of callers' certificates.
    pub client_cas: Vec<ClientCa>,
    /// Whether each connection needs a client certificate.
    pub client_auth: ClientAuth,
    /// Metrics and probes; `None`: no such address.
    pub admin: Option<SocketAddr>,
    /// The database.
    pub store: PathBuf,
    /// Locks and PIN latches.
    pub lock_dir: PathBuf,
    /// The tokens.
    pub tokens: Vec<TokenEntry>,
    /// The key rings.
    pub rings: Vec<RingEntry>,
    /// The first callers.
    pub callers: Vec<CallerEntry>,
    /// The OpenTelemetry collector; `None`: nothing is sent.
    pub otlp_endpoint: Option<String>,
    /// How log lines are written.
    pub log_format: LogFormat,
}

/// An authority whose clients are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCa {
    /// Its certificate.
    pub certificate: PathBuf,
    /// What names a caller in the certificates that it issues.
    pub identity: IdentityKind,
}

/// Whether each connection needs a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ClientAuth {
    /// One without it is refused
    #[default]
    Required,
    /// One without it is taken; its calls need an API key, or a token of an OIDC issuer
    Optional,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line
    #[default]
    Json,
    /// For a person at a terminal
    Text,
}

/// Roles that mean nothing without a key ring.
const OF_RINGS: [Role; 3] = [Role::Signer, Role::Verifier, Role::KeyAdministrator];

impl Plan {
    /// Fills in what entries leave to the whole, and finds what does not go together; one line for each.
    pub fn settle(&mut self) -> Result<(), Vec<String>> {
        let mut wrong = Vec::new();
        for (what, ids) in [
            ("token", self.tokens.iter().map(|token| &token.id).collect::<Vec<_>>()),
            ("ring", self.rings.iter().map(|ring| &ring.id).collect()),
            ("caller", self.callers.iter().map(|caller| &caller.id).collect()),
        ] {
            let mut seen = BTreeSet::new();
            wrong.extend(
                ids.into_iter().filter(|id| !seen.insert(*id)).map(|id| format!("the {what} {id} is given twice")),
            );
        }
        let tokens: Vec<&Id> = self.tokens.iter().map(|token| &token.id).collect();
        for ring in &mut self.rings {
            ring.environment.get_or_insert_with(|| self.environment.clone());
            match (&ring.token, tokens.as_slice()) {
                (None, [only]) => ring.token = Some((*only).clone()),
                (None, _) => {
                    wrong.push(format!("the ring {} does not say which token holds it; add token=ID", ring.id))
                }
                (Some(token), known) if !known.contains(&token) => {
                    wrong.push(format!("the ring {} is on the token {token}, and there is none", ring.id));
                }
                (Some(_), _) => {}
            }
        }
        for caller in &mut self.callers {
            caller.environment.get_or_insert_with(|| self.environment.clone());
            for wanted in &caller.rings {
                if !self.rings.iter().any(|ring| ring.id == *wanted) {
                    wrong.push(format!("the caller {} names the ring {wanted}, and there is none", caller.id));
                }
            }
            if let Some(role) = caller.roles.iter().find(|role| OF_RINGS.contains(role) && caller.rings.is_empty()) {
                let role = role.as_str();
                wrong.push(format!("the caller {} is {role} of no key ring; add ring=ID", caller.id));
            }
        }
        // The service does not start where nobody could ever change policy.
        if !self.callers.is_empty()
            && !self.callers.iter().any(|caller| caller.roles.contains(&Role::PolicyAdministrator))
        {
            wrong.push("no caller has the role policy-administrator, so nobody could ever change policy".to_owned());
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn plan() -> Plan {
        let ca = |path: &str, identity| ClientCa { certificate: PathBuf::from(path), identity };
        let token = "main,module=/opt/a \"b\".so,label=signing,serial=0a,pin-file=/etc/chancery/pin,env.CONF=/etc/p11";
        Plan {
            instance: Id::parse("an id", "east").unwrap(),
            environment: Id::parse("an id", "prod").unwrap(),
            listen: "0.0.0.0:8443".parse().unwrap(),
            certificate: PathBuf::from("/etc/chancery/tls/server.pem"),
            private_key: PathBuf::from("/etc/chancery/tls/server.key"),
            client_cas: vec![ca("/etc/ca.pem", IdentityKind::Spiffe), ca("/etc/old-ca.pem", IdentityKind::Dns)],
            client_auth: ClientAuth::Required,
            admin: Some("127.0.0.1:9443".parse().unwrap()),
            store: PathBuf::from("/var/lib/chancery/chancery.db"),
            lock_dir: PathBuf::from("/var/lib/chancery/locks"),
            tokens: vec![token.parse().unwrap()],
            rings: vec!["payments".parse().unwrap(), "letters,environment=staging".parse().unwrap()],
            callers: vec![
                "ops,identity=spiffe://a.example/ops,role=policy-administrator,role=auditor".parse().unwrap(),
                "shop,identity=dns:shop.example,role=signer,ring=payments,group=web".parse().unwrap(),
            ],
            otlp_endpoint: Some("http://127.0.0.1:4317".to_owned()),
            log_format: LogFormat::Json,
        }
    }

    #[test]
    fn what_entries_leave_open_is_filled_in() {
        let mut plan = plan();
        plan.settle().unwrap();
        let environments: Vec<&str> =
            plan.rings.iter().map(|ring| ring.environment.as_ref().unwrap().as_str()).collect();
        assert_eq!(environments, ["prod", "staging"]);
        assert_eq!(plan.rings[0].token.as_ref().unwrap().as_str(), "main");
        assert_eq!(plan.callers[0].environment.as_ref().unwrap().as_str(), "prod");
    }

    #[test]
    fn everything_that_does_not_go_together_is_said_at_once() {
        let mut plan = plan();
        plan.tokens.push("spare,module=/b,label=b,pin-file=/p".parse().unwrap());
        plan.rings[1] = "payments,token=gone".parse().unwrap();
        plan.callers.remove(0);
        plan.callers.push("desk,identity=dns:desk.example,role=verifier".parse().unwrap());
        plan.callers[0].rings = vec![Id::parse("an id", "nowhere").unwrap()];
        let wrong = plan.settle().unwrap_err().join("\n");
        for words in [
            "ring payments is given twice",
            "which token",
            "token gone",
            "the ring nowhere",
            "verifier of no",
            "ever change",
        ] {
            assert!(wrong.contains(words), "{words}: {wrong}");
        }
    }
}
