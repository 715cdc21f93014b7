//! The shipped roles: who may do what, and nothing else.

use crate::cases::{allowed, caller, caller_in, denied, names, point, registration, request, resource_for};
use chancery_model::{Action, ActionGroup, Role};
use chancery_policy::{Decision, PolicySet, Resource};

const READING_KEYS: [Action; 6] = [
    Action::ListKeyRings,
    Action::GetKeyRing,
    Action::GetKey,
    Action::ListKeys,
    Action::ListKeyVersions,
    Action::GetKeyVersion,
];

/// What a role may do to its own ring, and to what belongs to no ring.
fn granted(role: Role) -> Vec<Action> {
    use Action::*;
    let (own, reads_keys): (&[Action], bool) = match role {
        Role::Signer => {
            let uses: &[Action] = &[
                Sign,
                SignJwt,
                MacSign,
                CreateCertificateSigningRequest,
                Verify,
                MacVerify,
                GetPublicKey,
                GenerateRandomBytes,
            ];
            (uses, true)
        }
        Role::Verifier => (&[Verify, MacVerify, GetPublicKey], true),
        Role::KeyAdministrator => {
            let administers: &[Action] = &[
                CreateKey,
                AdoptKey,
                FreezeKeyRing,
                UnfreezeKeyRing,
                UpdateKey,
                RotateKey,
                SuspendKeyVersion,
                ResumeKeyVersion,
                DeactivateKeyVersion,
                MarkKeyVersionCompromised,
                ScheduleKeyVersionDestruction,
                CancelKeyVersionDestruction,
                SetCertificateChain,
                GetPublicKey,
                ListTokens,
                GetToken,
                ClearPinLatch,
            ];
            (administers, true)
        }
        Role::PolicyAdministrator => {
            let own: &[Action] = &[
                GetPolicySet,
                ApplyPolicySet,
                ValidatePolicySet,
                ExplainAuthorization,
                ListEffectiveAccess,
                ReplayPolicySet,
            ];
            (own, false)
        }
        Role::Approver => (&[], true),
        Role::Auditor => {
            let reads: &[Action] = &[
                ListRecords,
                WatchRecords,
                GetCheckpoint,
                GetInclusionProof,
                GetConsistencyProof,
                GetPolicySet,
                ValidatePolicySet,
                ExplainAuthorization,
                ListEffectiveAccess,
                ReplayPolicySet,
                ListTokens,
                GetToken,
                GetCaller,
                ListCallers,
                ListApiKeys,
            ];
            (reads, true)
        }
        Role::CallerAdministrator => {
            let administers: &[Action] = &[
                CreateCaller,
                GetCaller,
                ListCallers,
                UpdateCaller,
                SuspendCaller,
                ResumeCaller,
                IssueApiKey,
                ListApiKeys,
                RotateApiKey,
                RevokeApiKey,
            ];
            (administers, false)
        }
    };
    own.iter().copied().chain(READING_KEYS.into_iter().filter(|_| reads_keys)).collect()
}

fn is_about_keys(action: Action) -> bool {
    matches!(
        action.group(),
        ActionGroup::Signing
            | ActionGroup::Verifying
            | ActionGroup::GeneratingRandom
            | ActionGroup::ReadingKeys
            | ActionGroup::AdministeringKeys
            | ActionGroup::AdoptingKeys
            | ActionGroup::FreezingKeyRings
            | ActionGroup::ReportingCompromise
            | ActionGroup::DestroyingKeys
    )
}

/// On one caller, which has an environment.
fn is_about_a_caller(action: Action) -> bool {
    !matches!(action, Action::CreateCaller | Action::ListCallers)
        && matches!(
            action.group(),
            ActionGroup::ReadingCallers | ActionGroup::AdministeringCallers | ActionGroup::AdministeringApiKeys
        )
}

/// Every role and every action on a ring, against what is expected of it.
fn compare(ring: &str, environment: &str, expected: impl Fn(Role, Action) -> bool) {
    for role in Role::ALL {
        let caller = caller("someone", &[role]);
        let point = point(&PolicySet::shipped(), &[&caller]);
        for action in Action::ALL {
            let request = request(action, resource_for(action, ring, environment));
            let allowed = matches!(point.authorize(&caller, &request), Decision::Allowed(_));
            assert_eq!(allowed, expected(role, action), "{role} {action} on {ring} of {environment}");
            assert_eq!(point.explain(&caller, &request).allowed, allowed, "{role} {action}, explained");
        }
    }
}

#[test]
fn each_role_may_do_what_it_is_for_on_its_own_ring() {
    compare("payments", "dev", |role, action| granted(role).contains(&action));
}

#[test]
fn on_other_rings_of_the_environment_only_the_auditor_reads() {
    compare("other", "dev", |role, action| {
        let elsewhere = !is_about_keys(action) || (role == Role::Auditor && READING_KEYS.contains(&action));
        elsewhere && granted(role).contains(&action)
    });
}

#[test]
fn in_another_environment_no_role_reaches_a_caller_or_a_ring_even_one_of_its_own_name() {
    compare("payments", "prod", |role, action| {
        !is_about_keys(action) && !is_about_a_caller(action) && granted(role).contains(&action)
    });
}

#[test]
fn a_caller_administrator_registers_for_its_own_environment_only() {
    let admin = caller("admin", &[Role::CallerAdministrator]);
    let point = point(&PolicySet::shipped(), &[&admin]);
    for (environment, expected) in [("dev", true), ("prod", false)] {
        let mut request = request(Action::CreateCaller, Resource::Callers);
        request.context.operation = registration(environment, &[]);
        assert_eq!(point.explain(&admin, &request).allowed, expected, "{environment}");
    }
}

#[test]
fn nobody_changes_their_own_registration_and_everybody_may_read_it_whom_policy_lets() {
    let admin = caller("admin", &[Role::CallerAdministrator]);
    let point = point(&PolicySet::shipped(), &[&admin]);
    let own = || Resource::Caller(std::sync::Arc::clone(&admin));
    for action in [Action::UpdateCaller, Action::SuspendCaller, Action::ResumeCaller, Action::IssueApiKey] {
        let denial = denied(point.authorize(&admin, &request(action, own())));
        assert_eq!(names(&denial.policies), ["builtin-nobody-administers-their-own-registration"], "{action}");
    }
    allowed(point.authorize(&admin, &request(Action::GetCaller, own())));
}

/// Whoever gets hold of a policy administrator's credential can change every policy, this one too.
#[test]
fn who_registers_callers_gets_at_no_policy_administrator() {
    use Action::*;
    let registrar = caller("registrar", &[Role::CallerAdministrator]);
    let both = caller("both", &[Role::CallerAdministrator, Role::PolicyAdministrator]);
    let signer = caller("shop", &[Role::Signer]);
    let governor = caller("governor", &[Role::PolicyAdministrator, Role::Auditor]);
    let point = point(&PolicySet::shipped(), &[&registrar, &both, &signer, &governor]);
    for action in [UpdateCaller, SuspendCaller, ResumeCaller, IssueApiKey, RotateApiKey] {
        let on = |caller: &std::sync::Arc<_>| request(action, Resource::Caller(std::sync::Arc::clone(caller)));
        let denial = denied(point.authorize(&registrar, &on(&governor)));
        assert_eq!(names(&denial.policies), ["policy-administrators-are-administered-by-their-like"], "{action}");
        allowed(point.authorize(&registrar, &on(&signer)));
        allowed(point.authorize(&both, &on(&governor)));
        assert!(!point.explain(&registrar, &on(&both)).allowed, "{action}: who has both roles has this one");
    }
    // To stop a credential, and to look, is no way in.
    for action in [RevokeApiKey, GetCaller, ListApiKeys] {
        allowed(point.authorize(&registrar, &request(action, Resource::Caller(std::sync::Arc::clone(&governor)))));
    }
    for (action, resource) in
        [(CreateCaller, Resource::Callers), (UpdateCaller, Resource::Caller(std::sync::Arc::clone(&signer)))]
    {
        let mut giving = request(action, resource);
        giving.context.operation = registration("dev", &[Role::Signer, Role::PolicyAdministrator]);
        let denial = denied(point.authorize(&registrar, &giving));
        assert_eq!(names(&denial.policies), ["policy-administrators-are-made-by-their-like"], "{action}");
        allowed(point.authorize(&both, &giving));
    }
}

#[test]
fn without_a_role_nothing_is_allowed() {
    let caller = caller("nobody", &[]);
    let point = point(&PolicySet::shipped(), &[&caller]);
    for action in Action::ALL {
        let request = request(action, resource_for(action, "payments", "dev"));
        assert!(matches!(point.authorize(&caller, &request), Decision::Denied(_)), "{action}");
    }
}

#[test]
fn a_signer_who_also_administers_cannot_sign() {
    for administering in [Role::KeyAdministrator, Role::PolicyAdministrator, Role::CallerAdministrator] {
        let caller = caller_in("dev", "both", &[], &[Role::Signer, administering], &["payments"]);
        let point = point(&PolicySet::shipped(), &[&caller]);
        for action in Action::ALL {
            let request = request(action, resource_for(action, "payments", "dev"));
            let allowed = matches!(point.authorize(&caller, &request), Decision::Allowed(_));
            let either = granted(Role::Signer).contains(&action) || granted(administering).contains(&action);
            assert_eq!(allowed, either && action.group() != ActionGroup::Signing, "{administering} {action}");
        }
    }
}
