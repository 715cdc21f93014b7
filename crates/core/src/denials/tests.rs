//! Floods of refusals, and what of them comes to the record.

use super::*;

const ONE: Uid = Uid::from_bytes([1; 16]);
const OTHER: Uid = Uid::from_bytes([2; 16]);

fn add(denials: &Denials, caller: Uid, named: &str) {
    let details = Details { caller: Some("its-id".to_owned()), resource: Some(named.to_owned()), ..Details::default() };
    denials.count(caller, Some(Action::Sign), Uid::NONE, DenialReason::UnknownResource, details);
}

fn counted(denials: &[Denial]) -> u32 {
    denials.iter().map(|denial| denial.count).sum()
}

#[test]
fn equal_refusals_are_counted_together() {
    let denials = Denials::default();
    for _ in 0..3 {
        add(&denials, ONE, "nothing");
    }
    // Within one second or across the border of two, none is lost.
    assert_eq!(counted(&denials.take(None)), 3);
}

#[test]
fn a_caller_beyond_his_share_is_counted_by_the_minute_and_hides_nobody() {
    let denials = Denials::default();
    let begun = Instant::now();
    let mut asked = 0;
    let mut flood = |denials: &Denials| {
        for name in 0..200 {
            add(denials, ONE, &format!("{asked}-{name}"));
        }
        asked += 200;
    };
    let at = |second| Some(begun + Duration::from_secs(second));
    let mut recorded = Vec::new();
    for second in 0..150 {
        flood(&denials);
        add(&denials, OTHER, "theirs");
        let (of_other, of_one): (Vec<_>, Vec<_>) =
            denials.take(at(second)).into_iter().partition(|denial| denial.caller == OTHER);
        // Twice where the second on the clock changed in between; never among the overflow.
        assert!(of_other.iter().all(|denial| denial.reason == DenialReason::UnknownResource), "{of_other:?}");
        assert_eq!(counted(&of_other), 1);
        recorded.extend(of_one.into_iter().map(|denial| (second, denial)));
    }
    let overflow = |(_, denial): &&(u64, Denial)| denial.reason == DenialReason::Overflow;
    assert_eq!(recorded.iter().filter(|it| !overflow(it)).count(), 16, "what is told apart");
    let together: Vec<_> = recorded.iter().filter(overflow).collect();
    assert_eq!(together.iter().map(|(second, _)| *second).collect::<Vec<_>>(), [0, 60, 120], "the first at once");
    for (_, denial) in together {
        assert_eq!((denial.caller, denial.details.caller.as_deref()), (ONE, Some("its-id")));
        assert_eq!(denial.details.resource, None);
    }
    // At the end of a minute with few of them: those, and from then on each by itself again.
    let mut rest = denials.take(at(180));
    add(&denials, ONE, "one more");
    rest.extend(denials.take(at(240)));
    add(&denials, ONE, "a last one");
    let last = denials.take(at(241));
    assert_eq!(last.iter().map(|denial| denial.reason).collect::<Vec<_>>(), [DenialReason::UnknownResource]);
    let recorded: Vec<Denial> = recorded.into_iter().map(|(_, denial)| denial).collect();
    assert_eq!(counted(&recorded) + counted(&rest) + counted(&last), asked + 2, "none is lost");
}

#[test]
fn the_table_is_bounded_whoever_fills_it_and_says_whose_are_not_in_it() {
    let denials = Denials::default();
    let callers: u8 = 200;
    for caller in 0..callers {
        for name in 0..SHARE {
            add(&denials, Uid::from_bytes([caller; 16]), &name.to_string());
        }
    }
    let all = denials.take(None);
    assert_eq!(counted(&all), u32::from(callers) * SHARE);
    assert!(all.len() <= MAX_DISTINCT + usize::from(callers));
    assert!(all.iter().all(|denial| denial.details.caller.is_some()));
}

#[test]
fn strangers_add_one_record_for_each_reason_and_minute_and_none_of_them_is_lost() {
    let denials = Denials::default();
    let begun = Instant::now();
    let (mut recorded, mut counted, mut asked) = (Vec::new(), 0, 0);
    for second in 0..180 {
        for port in 0..50 {
            denials.add_unauthenticated(Some(SocketAddr::from(([192, 0, 2, 1], port))), "no_certificate");
            denials.add_unauthenticated(None, "api_key_unknown");
            asked += 2;
        }
        let handed_over = denials.take(Some(begun + Duration::from_secs(second)));
        counted += handed_over.iter().map(|denial| denial.count).sum::<u32>();
        recorded.extend(handed_over.into_iter().map(|denial| (second, denial)));
    }
    let seconds: Vec<u64> = recorded.iter().map(|(second, _)| *second).collect();
    assert_eq!(seconds, [0, 0, 60, 60, 120, 120], "the first at once");
    let left = denials.take(None);
    assert_eq!(left.len(), 2, "what is left at the end");
    assert_eq!(counted + left.iter().map(|denial| denial.count).sum::<u32>(), asked);
    assert!(recorded.iter().all(|(_, denial)| denial.action.is_none() && denial.caller == Uid::NONE));
}

#[test]
fn long_names_are_cut_between_characters() {
    assert_eq!(shortened(&"ä".repeat(200)).len(), MAX_NAME_BYTES);
}
