//! The schema that every policy is validated against.

use cedar_policy::Schema;
use std::sync::LazyLock;

/// The schema in Cedar's own syntax.
pub const SCHEMA: &str = include_str!("../schema/chancery.cedarschema");

/// Raised whenever the schema changes what a policy can say; part of the hash of every policy set.
pub const SCHEMA_VERSION: u32 = 5;

/// The parsed schema.
#[expect(clippy::expect_used, reason = "the text is part of this crate, and every test of it parses it")]
pub(crate) static PARSED: LazyLock<Schema> =
    LazyLock::new(|| Schema::from_cedarschema_str(SCHEMA).expect("the schema of this crate parses").0);

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::digest::{SHA256, digest};
    use chancery_model::{Action, ActionGroup, Role};
    use std::collections::BTreeSet;

    #[test]
    fn the_schema_has_our_actions_in_our_groups_and_no_others() {
        let ours: BTreeSet<String> = Action::ALL.iter().map(|a| a.to_string()).collect();
        let groups: BTreeSet<String> = ActionGroup::ALL.iter().map(|g| g.as_str().to_owned()).collect();
        let id = |uid: &cedar_policy::EntityUid| uid.id().unescaped().to_owned();
        let declared: BTreeSet<String> = PARSED.actions().map(id).collect();
        assert_eq!(declared, ours.union(&groups).cloned().collect());
        let entities = PARSED.action_entities().unwrap();
        for action in Action::ALL {
            let parents: Vec<String> = entities.ancestors(&crate::uids::action(action)).unwrap().map(id).collect();
            assert_eq!(parents, [action.group().as_str()], "{action}");
        }
    }

    #[test]
    fn the_schema_has_our_roles() {
        for role in Role::ALL {
            assert!(SCHEMA.contains(&format!("    {:?}", role.as_str())), "{role}");
        }
    }

    /// Not a test of behaviour but a reminder: the version is part of every policy set's hash, so it must move when the
    /// schema does. Comments and blank space do not count.
    #[test]
    fn a_changed_schema_has_a_new_version() {
        let text: String = SCHEMA.lines().map(|l| l.split("//").next().unwrap()).collect::<String>();
        let text: String = text.split_whitespace().collect();
        let hash: String = digest(&SHA256, text.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            (SCHEMA_VERSION, hash.as_str()),
            (5, "3451949b7165d09be0c4976e906a8fae414ff34b44ae47c4d967fff3fa805574"),
            "raise SCHEMA_VERSION and pin both here"
        );
    }
}
