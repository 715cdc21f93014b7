//! Questions at a terminal, for what was not given.
//!
//! An answer that cannot be used is asked for again, with what is wrong with it. An empty one takes what stands in brackets.

use std::io::{BufRead, Write};

use chancery_model::Role;
use chancery_server::config::parse_identity;

use super::Given;
use super::entries::{CallerEntry, RingEntry, TokenEntry, check_variable, parse_id, parse_role};
use super::given::{ADMIN_LISTEN, ENVIRONMENT, INSTANCE, LISTEN, STORE, parse_endpoint};
use crate::exit::Failure;

/// The person at the terminal.
pub struct Dialogue<'a> {
    input: &'a mut dyn BufRead,
    output: &'a mut dyn Write,
}

impl<'a> Dialogue<'a> {
    /// Reads answers from `input`, puts questions to `output`.
    pub fn new(input: &'a mut dyn BufRead, output: &'a mut dyn Write) -> Self {
        Self { input, output }
    }

    /// Asks for everything that is not given.
    pub fn complete(&mut self, given: &mut Given) -> Result<(), Failure> {
        self.say("Enter takes what stands in brackets. Files need not be there yet; no secret is asked for.\n")?;
        self.unless_given(&mut given.instance, "Name of this instance in the record", Some(INSTANCE), parse_id)?;
        self.unless_given(&mut given.environment, "Environment of keys and callers", Some(ENVIRONMENT), parse_id)?;
        self.unless_given(&mut given.listen, "Where callers connect (address:port)", Some(LISTEN), parsed)?;
        self.unless_given(&mut given.server_cert, "The service's certificate chain (PEM file)", None, parsed)?;
        self.unless_given(&mut given.server_key, "Its private key (PEM file, or credential:NAME)", None, parsed)?;
        if given.client_ca.is_empty() && given.client_ca_dns.is_empty() {
            let question = "Authority of client certificates with SPIFFE ids (PEM file; empty: there is none)";
            given.client_ca.extend(self.ask_if_any(question, parsed)?);
            let question = "Authority of client certificates with DNS names (PEM file; empty: there is none)";
            match given.client_ca.is_empty() {
                false => given.client_ca_dns.extend(self.ask_if_any(question, parsed)?),
                true => {
                    let question = "Authority of client certificates with DNS names (PEM file)";
                    given.client_ca_dns.push(self.ask(question, None, parsed)?);
                }
            }
        }
        if !given.no_admin {
            let question = "Where metrics and probes are served (plain HTTP)";
            self.unless_given(&mut given.admin_listen, question, Some(ADMIN_LISTEN), parsed)?;
        }
        self.unless_given(&mut given.store, "Database file of state and record", Some(STORE), parsed)?;
        if given.token.is_empty() {
            given.token = self.list("token", |dialogue, first| dialogue.token(first))?;
        }
        if given.ring.is_empty() {
            given.ring = self.list("key ring", |dialogue, _| dialogue.ring(&given.token))?;
        }
        if given.caller.is_empty() && !given.no_caller {
            self.say("Callers: begin with the one who administers policy; one who administers never signs.\n")?;
            given.caller = self.list("caller", |dialogue, _| dialogue.caller(&given.ring))?;
        }
        if given.otlp_endpoint.is_none() {
            let question = "OpenTelemetry collector (http://host:port; empty: nothing is sent)";
            given.otlp_endpoint = self.ask_if_any(question, parse_endpoint)?;
        }
        Ok(())
    }

    fn token(&mut self, first: bool) -> Result<TokenEntry, Failure> {
        let id = self.ask("Token: its name in Chancery", first.then_some("main"), parse_id)?;
        let module = self.ask("  PKCS#11 module (shared library)", None, parsed)?;
        let label = self.ask("  label of the token", None, |text| Ok(text.to_owned()))?;
        let serial = self.ask_if_any("  serial number (empty: the label is enough)", |text| Ok(text.to_owned()))?;
        let pin_file = format!("/etc/chancery/pin-{id}");
        let pin_file = self.ask("  file with the PIN (or credential:NAME)", Some(&pin_file), parsed)?;
        let mut environment = std::collections::BTreeMap::new();
        let question = "  environment of the module, NAME=VALUE (empty: no more)";
        while let Some((name, value)) = self.ask_if_any(question, variable)? {
            environment.insert(name, value);
        }
        Ok(TokenEntry { id, module, label, serial, pin_file, environment })
    }

    fn ring(&mut self, tokens: &[TokenEntry]) -> Result<RingEntry, Failure> {
        let id = self.ask("Key ring: its name", None, parse_id)?;
        let token = match tokens {
            [_only] => None,
            several => {
                let names: Vec<&str> = several.iter().map(|token| token.id.as_str()).collect();
                let known = |text: &str| match names.contains(&text) {
                    true => parse_id(text),
                    false => Err(format!("there is no such token; there are: {}", names.join(", "))),
                };
                Some(self.ask("  on which token", names.first().copied(), known)?)
            }
        };
        let environment = self.ask_if_any("  environment (empty: that of the whole)", parse_id)?;
        Ok(RingEntry { id, token, environment })
    }

    fn caller(&mut self, rings: &[RingEntry]) -> Result<CallerEntry, Failure> {
        let id = self.ask("Caller: its name", None, parse_id)?;
        let identity = |text: &str| parse_identity(text).map(|_| text.to_owned());
        let identity = self.ask("  identity (spiffe://trust-domain/path, or dns:name)", None, identity)?;
        let names: Vec<&str> = Role::ALL.iter().map(|role| role.as_str()).collect();
        let question = format!("  roles, separated by commas ({})", names.join(", "));
        let roles = self.ask(&question, None, |text| each(text, parse_role))?;
        let all: Vec<&str> = rings.iter().map(|ring| ring.id.as_str()).collect();
        let rings = self.ask("  key rings to which they extend, or none", Some(&all.join(",")), |text| match text {
            "none" => Ok(Vec::new()),
            text => each(text, |name| match all.contains(&name) {
                true => parse_id(name),
                false => Err(format!("there is no key ring {name}; there are: {}", all.join(", "))),
            }),
        })?;
        let environment = self.ask_if_any("  environment (empty: that of the whole)", parse_id)?;
        Ok(CallerEntry { id, identities: vec![identity], roles, rings, groups: Vec::new(), environment })
    }

    fn unless_given<T>(
        &mut self,
        place: &mut Option<T>,
        question: &str,
        assumed: Option<&str>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<(), Failure> {
        if place.is_none() {
            *place = Some(self.ask(question, assumed, parse)?);
        }
        Ok(())
    }

    /// Asks until the answer can be used.
    fn ask<T>(
        &mut self,
        question: &str,
        assumed: Option<&str>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let shown =
            assumed.filter(|assumed| !assumed.is_empty()).map(|assumed| format!(" [{assumed}]")).unwrap_or_default();
        loop {
            let answer = self.answer(&format!("{question}{shown}: "))?;
            let answer = match (answer.as_str(), assumed) {
                ("", Some(assumed)) => assumed,
                ("", None) => {
                    self.say("  an answer is needed here\n")?;
                    continue;
                }
                (answer, _) => answer,
            };
            match parse(answer) {
                Ok(value) => return Ok(value),
                Err(wrong) => self.say(&format!("  {wrong}\n"))?,
            }
        }
    }

    /// Asks until the answer can be used; an empty one is an answer, too.
    fn ask_if_any<T>(
        &mut self,
        question: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        self.ask(question, Some(""), |text| match text {
            "" => Ok(None),
            text => parse(text).map(Some),
        })
    }

    /// One, and as many more as are wanted. `ask` is told whether it asks for the first.
    fn list<T>(&mut self, what: &str, ask: impl Fn(&mut Self, bool) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
        let mut items = vec![ask(self, true)?];
        while self.more(what)? {
            items.push(ask(self, false)?);
        }
        Ok(items)
    }

    fn more(&mut self, what: &str) -> Result<bool, Failure> {
        self.ask(&format!("Another {what}?"), Some("no"), |text| match text {
            "y" | "yes" => Ok(true),
            "n" | "no" => Ok(false),
            _ => Err("yes or no".to_owned()),
        })
    }

    /// One line, without blanks around it.
    fn answer(&mut self, question: &str) -> Result<String, Failure> {
        self.say(question)?;
        let mut line = String::new();
        match self.input.read_line(&mut line) {
            Ok(0) => {
                let question = question.trim_end_matches([' ', ':']).trim_start();
                Err(Failure::usage(format!("the input ended at the question: {question}")))
            }
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(Failure::local("cannot read the answer").because(error)),
        }
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        let said = self.output.write_all(text.as_bytes()).and_then(|()| self.output.flush());
        said.map_err(|error| Failure::local("cannot ask").because(error))
    }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

fn each<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(parse).collect()
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    check_variable(name)?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made of these lines, and what was asked.
    fn complete(given: &mut Given, lines: &[&str]) -> (Result<(), Failure>, String) {
        let mut input = std::io::Cursor::new(lines.iter().map(|line| format!("{line}\n")).collect::<String>());
        let mut asked = Vec::new();
        let done = Dialogue::new(&mut input, &mut asked).complete(given);
        (done, String::from_utf8(asked).unwrap())
    }

    #[test]
    fn a_whole_plan_is_asked_for() {
        let mut given = Given::default();
        #[rustfmt::skip]
        let (done, asked) = complete(&mut given, &[
            "east", "", "",                                       // instance, environment, address
            "", "/s.pem", "credential:server.key",                // an answer is needed; certificate, key
            "/ca.pem", "",                                        // authorities
            "", "",                                               // admin address, store
            "", "/m.so", "signing", "", "", "P11_PIN=1", "CONF=/c", "",   // token; a secret is refused
            "yes", "spare", "/m.so", "spare", "0b", "/pin", "", "no",
            "payments", "lost", "spare", "", "no",                // ring; the token is asked for twice
            "ops", "ops", "spiffe://a.example/ops", "policy-administrator, auditor", "none", "", "y",
            "shop", "dns:shop.example", "signer", "", "staging", "",
            "http://127.0.0.1:4317",
        ]);
        done.unwrap();
        let plan = given.into_plan().unwrap();
        assert_eq!(plan.instance.as_str(), "east");
        assert_eq!(plan.private_key.to_str().unwrap(), "/run/credentials/chancery.service/server.key");
        assert_eq!(plan.tokens[0].pin_file.0.to_str().unwrap(), "/etc/chancery/pin-main");
        assert_eq!(plan.tokens[0].environment.keys().collect::<Vec<_>>(), ["CONF"]);
        assert_eq!(plan.tokens[1].serial.as_deref(), Some("0b"));
        assert_eq!(plan.rings[0].token.as_ref().unwrap().as_str(), "spare");
        assert_eq!((plan.callers[0].roles.len(), plan.callers[0].rings.len()), (2, 0));
        assert_eq!(plan.callers[1].rings[0].as_str(), "payments");
        assert_eq!(plan.callers[1].environment.as_ref().unwrap().as_str(), "staging");
        assert!(!asked.contains("[]"), "{asked}");
        for words in ["an answer is needed", "looks like a secret", "no such token", "spiffe://trust-domain/path"] {
            assert!(asked.contains(words), "{words}: {asked}");
        }
    }

    #[test]
    fn what_was_given_is_not_asked_for() {
        let mut given = Given {
            token: vec!["main,module=/m.so,label=l,pin-file=/pin".parse().unwrap()],
            ring: vec!["payments".parse().unwrap()],
            caller: vec!["ops,identity=dns:ops.example,role=policy-administrator".parse().unwrap()],
            client_ca_dns: vec!["/ca.pem".parse().unwrap()],
            no_admin: true,
            ..Given::default()
        };
        let (done, asked) = complete(&mut given, &["", "", "", "/s.pem", "/s.key", "", ""]);
        done.unwrap();
        assert!(!asked.contains("token") && !asked.contains("Caller") && !asked.contains("probes"), "{asked}");
        given.into_plan().unwrap();
    }

    #[test]
    fn an_input_that_ends_names_the_question() {
        let (done, _) = complete(&mut Given::default(), &["", "", ""]);
        let (said, _) = done.unwrap_err().report();
        assert!(said.contains("certificate chain"), "{said}");
    }
}
