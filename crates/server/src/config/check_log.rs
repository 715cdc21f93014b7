//! What can be found out about `[log]` before anything is started with it.

use super::check::Report;
use super::{Archive, Config};
use chancery_audit::witness::WitnessPolicy;

impl Report {
    fn archive(&mut self, archive: &Archive, signed: bool) {
        let Archive { dir, after_days } = archive;
        if after_days.is_some() && !signed {
            let message =
                "nothing is archived that is not under a checkpoint, and without a [system_ring] there is none; add it";
            self.error("log.archive.after_days", message);
        }
        let (dir, name) = (dir.as_path(), dir.display());
        if dir.exists() && !dir.is_dir() {
            self.error("log.archive.dir", format!("{name} is not a folder; name one"));
        } else if dir.join("checkpoint").exists() {
            let message = format!("{name} is an export of a log, whose files change; name another folder");
            self.error("log.archive.dir", message);
        }
    }

    pub(super) fn log(&mut self, config: &Config) {
        let log = &config.log;
        let keys = log.witnesses.iter().map(|witness| witness.key.clone()).collect();
        if let Err(error) = WitnessPolicy::new(keys, log.required_witnesses) {
            self.error("log.witness", format!("{error}; correct the [[log.witness]] entries, or required_witnesses"));
        }
        if !log.witnesses.is_empty() && config.system_ring.is_none() {
            let message = "there is nothing to cosign without a [system_ring], whose token signs the log; add it";
            self.error("log.witness", message);
        }
        if log.required_witnesses > 0 && log.required_witnesses == log.witnesses.len() {
            let message = "is the number of witnesses, so that no checkpoint counts while one of them is away; add another \
                           [[log.witness]], unless that is meant";
            self.warning("log.required_witnesses", message);
        }
        if let Some(archive) = &log.archive {
            self.archive(archive, config.system_ring.is_some());
        }
        if log.required_witnesses == 0 && !log.witnesses.is_empty() {
            let message = "is 0, so that every checkpoint counts, whether a witness has cosigned it or not; set it to how many \
                           have to";
            self.warning("log.required_witnesses", message);
        }
        if !log.witnesses.is_empty() && log.witnesses.iter().all(|witness| witness.url.is_of_this_machine()) {
            let message = "all witnesses are on this machine: whoever can change the log's database and stop the service can \
                           put back what they have seen, too; add one that somebody else runs elsewhere";
            self.warning("log.witness", message);
        }
        for witness in &log.witnesses {
            let name = witness.key.name();
            match (witness.url.is_https(), &witness.ca) {
                (true, None) => {
                    let message = format!("whom to trust with the address of {name} is not said; name a PEM file");
                    self.error("log.witness.ca", message);
                }
                (true, Some(ca)) => self.readable("log.witness.ca", ca),
                (false, Some(_)) => {
                    let message = format!("{name} is asked without TLS, on this machine; remove ca, or write https");
                    self.error("log.witness.ca", message);
                }
                (false, None) => {}
            }
            if witness.url.path().contains('?') {
                let message = format!("the address of {name} has a query; give what comes before /add-checkpoint");
                self.error("log.witness.url", message);
            }
        }
    }
}
