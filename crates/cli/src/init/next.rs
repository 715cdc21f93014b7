//! What there is to do after the file was written: commands, in order, each ready to be run.

use std::net::SocketAddr;
use std::path::Path;

use super::Plan;
use super::entries::CREDENTIALS;

/// A line each. Comments begin with `#`.
pub fn steps(plan: &Plan, file: &Path) -> Vec<String> {
    let mut steps = Vec::new();
    let store = plan.store.parent().filter(|folder| !folder.is_dir());
    if let Some(folder) = store {
        steps.push(
            "# the folder of state and record, for the service's user alone (systemd's StateDirectory makes it)"
                .to_owned(),
        );
        steps.push(format!("install -d -m 700 -o chancery -g chancery {}", folder.display()));
    }
    for token in plan.tokens.iter().filter(|token| !token.pin_file.0.starts_with(CREDENTIALS)) {
        let pin = token.pin_file.0.display();
        if !token.pin_file.0.exists() {
            steps.push(format!("# type the PIN of the token {}, then Ctrl-D", token.id));
            steps.push(format!("install -m 600 -o chancery -g chancery /dev/stdin {pin}"));
        }
    }
    let tokens = plan.tokens.iter().map(|token| &token.pin_file.0);
    let credentials: Vec<String> = [&plan.certificate, &plan.private_key]
        .into_iter()
        .chain(tokens)
        .filter_map(|path| path.strip_prefix(CREDENTIALS).ok())
        .map(|name| format!("LoadCredential={0}:/etc/chancery/credentials/{0}", name.display()))
        .collect();
    if !credentials.is_empty() {
        steps.push("# in a drop-in of the unit (systemctl edit chancery.service), below [Service]:".to_owned());
        steps.extend(credentials.into_iter().map(|line| format!("#   {line}")));
    }
    let file = file.display();
    if plan.callers.is_empty() {
        steps.push("# the first caller, who registers the others".to_owned());
        steps.push(format!(
            "chancery bootstrap CALLER --config {file} --environment {} --identity IDENTITY",
            plan.environment
        ));
    }
    steps.push(format!("chancery config check {file}"));
    steps.push(format!("chancery serve --config {file}       # or by systemd: deploy/systemd/README.md"));
    steps.push(format!(
        "chancery health --endpoint https://{} --ca SERVER_CA.pem --cert CALLER.pem --key CALLER.key",
        endpoint(plan.listen)
    ));
    steps
}

/// Who listens everywhere is reached by a name that only its operator knows.
fn endpoint(listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() { format!("HOST:{}", listen.port()) } else { listen.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::plan::tests::plan;

    #[test]
    fn each_step_is_there_where_it_is_needed() {
        let mut plan = plan();
        let folder = tempfile::tempdir().unwrap();
        plan.store = folder.path().join("there/chancery.db");
        plan.tokens[0].pin_file.0 = folder.path().join("pin");
        let steps = steps(&plan, Path::new("/etc/c.toml")).join("\n");
        assert!(
            steps.contains(&format!(
                "install -d -m 700 -o chancery -g chancery {}",
                folder.path().join("there").display()
            ))
        );
        assert!(steps.contains("/dev/stdin") && steps.contains("config check /etc/c.toml"), "{steps}");
        assert!(steps.contains("https://HOST:8443") && !steps.contains("LoadCredential"), "{steps}");
        assert!(!steps.contains("chancery bootstrap"), "the configuration names the first callers: {steps}");

        std::fs::create_dir(folder.path().join("there")).unwrap();
        plan.tokens[0].pin_file = "credential:pin-main".parse().unwrap();
        plan.listen = "127.0.0.1:9000".parse().unwrap();
        plan.callers.clear();
        let steps = super::steps(&plan, Path::new("/etc/c.toml")).join("\n");
        assert!(!steps.contains("install ") && steps.contains("https://127.0.0.1:9000"), "{steps}");
        assert!(steps.contains("chancery bootstrap CALLER --config /etc/c.toml --environment prod"), "{steps}");
        assert!(steps.contains("LoadCredential=pin-main:/etc/chancery/credentials/pin-main"), "{steps}");
    }
}
