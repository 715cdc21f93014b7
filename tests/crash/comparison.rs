//! What a restarted service says and holds, against what was answered before the kill.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use chancery_api::v1;
use chancery_client::{Client, PublicKeyFormat};
use chancery_tests::contract::hex;

use crate::campaign::{PATIENCE, POLL, Running, THOROUGH, broken};
use crate::changes::{Change, Wanted, hash_of, is_closed, policy_set};
use crate::checker::{Checked, State, violation};
use crate::entry::{Entry, sha256};
use crate::load::{Answer, Call, EDWARDS, OldMac};

/// Records of a page; the most that the API gives.
const PAGE: i32 = 1000;
/// MACs that are kept to be checked in the next round.
const OLD_MACS: usize = 20;

impl Running {
    /// Compares what was answered before the kill with what the restarted service says, and what it holds.
    pub async fn compare(&mut self) -> Checked {
        let operator = self.chancery.operator().await.map_err(broken)?;
        self.take_record(&operator).await?;
        if self.checker.open().0 > 0 {
            return violation!(
                "the service serves, and {:?} intents and acts of its last run are open",
                self.checker.open()
            );
        }
        // A reservation is settled as soon as the token answers.
        let until = Instant::now() + PATIENCE;
        while self.checker.open().1 > 0 {
            if Instant::now() > until {
                return violation!("a key version is unfinished after {PATIENCE:?}");
            }
            tokio::time::sleep(POLL).await;
            self.take_record(&operator).await?;
        }
        let policy = policy_set(&operator).await.map_err(broken)?;
        if hash_of(&policy) != self.checker.policy_set() {
            return violation!("{} is in force, and the record says {}", hash_of(&policy), self.checker.policy_set());
        }
        if is_closed(&policy) {
            self.checker.closes(self.checker.policy_set().to_owned());
        }
        let (calls, changes) = (std::mem::take(&mut self.calls), std::mem::take(&mut self.changes));
        for Change { wanted, answer } in &changes {
            if let (Wanted::Apply { closed: true, .. }, Some(hash)) = (wanted, answer) {
                self.checker.closes(hash.clone());
            }
        }
        let compared = self.checker.compare(&calls)?;
        self.report.signatures += compared.signatures;
        self.report.macs += compared.macs;
        self.report.unanswered += compared.unanswered;
        self.report.unanswered_and_recorded += compared.unanswered_and_recorded;
        let compared = self.checker.compare_changes(&changes)?;
        self.report.changes += compared.changes;
        self.report.changes_cut_off_in_force += compared.changes_cut_off_in_force;
        self.report.changes_cut_off_undone += compared.changes_cut_off_undone;
        self.verify(&self.chancery.caller().await.map_err(broken)?, &calls).await?;
        self.compare_keys(&operator, &changes).await?;
        self.compare_token()
    }

    /// Reads what is new on the record, newest first until what is known; that must be what it was.
    pub async fn take_record(&mut self, operator: &Client) -> Checked {
        let next = self.checker.next();
        let (mut new, mut page_token) = (Vec::new(), String::new());
        'pages: loop {
            let request = v1::ListRecordsRequest { page_size: PAGE, page_token, ..Default::default() };
            let page = operator.audit().list_records(request).await.map_err(broken)?.into_inner();
            for record in page.records {
                let entry = Entry::read(record.index, &record.leaf, &record.salt, &record.details_json);
                if entry.index >= next {
                    new.push(entry);
                } else {
                    self.checker.again(&entry)?;
                    if entry.index + 50 < next {
                        break 'pages;
                    }
                }
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        new.iter().rev().try_for_each(|entry| self.checker.take(entry))
    }

    /// Each signature verifies under the key that was pinned when its version was made.
    async fn verify(&mut self, client: &Client, calls: &[Call]) -> Checked {
        for Call { caller, action, message, digest: _, answer } in calls {
            let received = match answer {
                Answer::Received(received) => received,
                Answer::Nothing => continue,
                Answer::Refused(reason) => {
                    let suspended = *action == "Sign" && reason == "KEY_VERSION_NOT_ACTIVE";
                    let closed = *action == "MacSign" && reason == "ACCESS_DENIED";
                    // The state changed three times while it was decided.
                    if suspended || closed || reason == "STATE_CHANGING" {
                        continue;
                    }
                    return violation!("{caller} asked to {action}, and the answer was {reason}");
                }
            };
            match *action {
                "Sign" => {
                    let key = self.public_key(client, &received.version).await?;
                    let (algorithm, length): (&dyn VerificationAlgorithm, usize) =
                        if received.version.starts_with(EDWARDS) {
                            (&ED25519, 32)
                        } else {
                            (&ECDSA_P256_SHA256_FIXED, 65)
                        };
                    // Both keys stand at the end of their SubjectPublicKeyInfo, in the form that is verified with.
                    let key = UnparsedPublicKey::new(algorithm, &key[key.len() - length..]);
                    if key.verify(message, &received.bytes).is_err() {
                        return violation!(
                            "the signature of {} for the record {} is wrong",
                            received.version,
                            received.record_index
                        );
                    }
                }
                "MacSign" => {
                    let (version, mac) = (received.version.clone(), received.bytes.clone());
                    self.old_macs.push(OldMac { version, message: message.clone(), mac });
                }
                _ => {}
            }
        }
        let many = self.old_macs.len().saturating_sub(OLD_MACS);
        self.old_macs.drain(..many);
        Ok(())
    }

    async fn public_key(&mut self, caller: &Client, version: &str) -> Checked<Vec<u8>> {
        if let Some(key) = self.public_keys.get(version) {
            return Ok(key.clone());
        }
        let key = caller.public_key(version, PublicKeyFormat::Der).await.map_err(broken)?.data;
        let pinned = self.checker.versions().get(version).and_then(|version| version.spki.clone());
        if pinned.as_deref() != Some(&*hex(&sha256(&key))) {
            return violation!("{version} shows another public key than the record pins: {pinned:?}");
        }
        self.public_keys.insert(version.to_owned(), key.clone());
        Ok(key)
    }

    /// The keys are those of the record, each in the state that the record says. All of them now and then, else those that
    /// the last round touched.
    async fn compare_keys(&mut self, operator: &Client, changes: &[Change]) -> Checked {
        let mut known = BTreeMap::<&str, BTreeMap<&str, State>>::new();
        for (name, version) in self.checker.versions() {
            let key = name.split_once("/versions/").unwrap().0;
            known.entry(key).or_default().insert(name, version.state);
        }
        let keys = operator.list_keys(&"keyRings/dev".parse().unwrap()).collect().await.map_err(broken)?;
        let listed: BTreeSet<String> = keys.iter().map(|key| key.name.to_string()).collect();
        if !listed.iter().map(String::as_str).eq(known.keys().copied()) {
            return violation!("the keys are {listed:?}, and by the record {:?}", known.keys());
        }
        let all = self.chance.below(THOROUGH) == 0;
        let touched: BTreeSet<&str> = changes.iter().filter_map(|change| change.wanted.key()).collect();
        for key in &keys {
            let name = key.name.to_string();
            if !(all || touched.contains(&*name)) {
                continue;
            }
            let versions = operator.key_versions(&key.name).collect().await.map_err(broken)?;
            let listed: BTreeMap<String, String> =
                versions.iter().map(|version| (version.name.to_string(), version.state.to_string())).collect();
            let by_the_record: BTreeMap<String, String> =
                known[&*name].iter().map(|(name, state)| ((*name).to_owned(), state.name().to_owned())).collect();
            if listed != by_the_record {
                return violation!("the versions are {listed:?}, and by the record {by_the_record:?}");
            }
        }
        Ok(())
    }

    /// The token holds the keys of the record, and no others.
    fn compare_token(&mut self) -> Checked {
        let holds = self.token.read(&self.chancery.dir());
        let pairs = self.checker.versions().values().filter(|version| !version.is_secret());
        let uids: BTreeSet<String> = pairs.map(|version| version.uid.clone()).collect();
        let secrets = self.checker.versions().len() - uids.len() + self.checker.own_secrets();
        let uids = &uids | self.checker.own_pairs();
        if holds.torn > 0 {
            return violation!(
                "{} files of the token were begun and not written: a worker left while it made a key",
                holds.torn
            );
        }
        let numbers = (holds.public, holds.private, holds.secret);
        if holds.uids != uids || numbers != (uids.len(), uids.len(), secrets) {
            let (foreign, missing) = (&holds.uids - &uids, &uids - &holds.uids);
            return violation!(
                "the token holds {numbers:?} public, private and secret keys, and by the record there are {} pairs and \
                 {secrets} secrets; unknown to the record: {foreign:?}; not in the token: {missing:?}",
                uids.len()
            );
        }
        Ok(())
    }
}
