//! Hashes of archived leaves that the database has lost: the archive gives them again where its leaves lead to what was signed,
//! and otherwise nothing is taken from it.

use crate::archive::archived;
use crate::database::Hand;
use crate::made::Made;
use chancery_audit::archive::{Archive, Mending, walk_with_archive};
use chancery_audit::checkpoint::SignedCheckpoint;
use chancery_audit::{ProveError, TreeHead, WalkedLeaves, prove_inclusion, walk_leaves};
use chancery_store::{ArchiveError, StoreError};
use std::collections::BTreeSet;

fn signed(made: &Made) -> TreeHead {
    let newest = made.reader.newest_checkpoint().unwrap().unwrap();
    let newest = SignedCheckpoint::parse(newest.note.as_bytes()).unwrap();
    TreeHead { size: newest.unverified().size(), root: *newest.unverified().root() }
}

/// The walk by what the database has, and the one with the archive: whether each comes to the signed root.
fn walked(made: &Made, archive: Option<&Archive>) -> ([bool; 2], WalkedLeaves, Mending) {
    let (signed, leaves) = (signed(made), made.reader.log_end().unwrap().leaves);
    let sizes = BTreeSet::from([signed.size]);
    let without = walk_leaves(&made.reader, leaves, &sizes).unwrap();
    let (with, mending) = walk_with_archive(&made.reader, archive, signed, leaves, &sizes, || ()).unwrap();
    let right = |walked: &WalkedLeaves| walked.roots[&signed.size] == Some(signed.root);
    ([right(&without), right(&with)], with, mending)
}

/// Each as somebody, or the disk, may leave the tiles; how many of those of archived leaves are lost by it.
const DAMAGES: [(&str, usize); 7] = [
    ("UPDATE tiles SET hashes = zeroblob(8192) WHERE level = 0 AND idx = 1", 1),
    ("UPDATE tiles SET hashes = substr(hashes, 1, 64) WHERE level = 0 AND idx = 0", 1),
    ("UPDATE tiles SET hashes = (SELECT hashes FROM tiles WHERE level = 0 AND idx = 0) WHERE level = 0 AND idx = 1", 1),
    ("DELETE FROM tiles WHERE level = 0 AND idx = 0", 1),
    ("DELETE FROM tiles WHERE level = 0", 2),
    ("UPDATE tiles SET hashes = zeroblob(length(hashes))", 2),
    // Those of the leaves are as they were: there is nothing to be taken from the archive.
    ("UPDATE tiles SET hashes = zeroblob(length(hashes)) WHERE level = 1", 0),
];

#[tokio::test]
async fn lost_hashes_of_archived_leaves_are_made_again_from_the_archive() {
    let folder = tempfile::TempDir::new().unwrap();
    let (mut made, archive) = archived(&folder.path().join("archive")).await;
    let head = signed(&made);
    let tiles = |made: &Made| [(0, 0), (0, 1), (1, 0)].map(|(level, index)| made.reader.tile(level, index).unwrap());
    let whole = tiles(&made);
    assert!(whole.iter().all(Option::is_some));
    let hand = Hand::at(&made);
    for (damage, lost) in DAMAGES {
        hand.run(damage);
        assert_ne!(tiles(&made), whole, "{damage}");
        let ([without, with], _, mending) = walked(&made, Some(&archive));
        assert_eq!((without, with, mending.tiles()), (lost == 0, true, lost), "{damage}");
        for index in [3, 300] {
            let proof = prove_inclusion(&made.reader, index, head.size, Some(head));
            assert!(matches!(proof, Err(ProveError::Damaged { .. }) | Ok(_)), "{damage}: {proof:?}");
        }
        made.mend(mending).await.unwrap();
        assert_eq!(tiles(&made), whole, "{damage}");
        for index in [0, 3, 255, 256, 300, 511, 600] {
            prove_inclusion(&made.reader, index, head.size, Some(head)).unwrap();
        }
        let ([without, _], walked, mending) = walked(&made, Some(&archive));
        assert!(without && walked.wrong_tiles == 0 && mending.tiles() == 0, "{damage}");
    }
    made.verify_with(&archive).unwrap();
}

#[tokio::test]
async fn an_archive_that_is_away_or_was_changed_gives_no_hashes() {
    let folder = tempfile::TempDir::new().unwrap();
    let (mut made, archive) = archived(&folder.path().join("archive")).await;
    Hand::at(&made).run("UPDATE tiles SET hashes = zeroblob(8192) WHERE level = 0 AND idx = 1");
    let refused = |made: &Made, archive: Option<&Archive>| {
        let ([without, with], _, mending) = walked(made, archive);
        assert!(!without && !with, "{mending:?}");
        let doubt = mending.doubt().unwrap();
        assert_eq!(doubt.records, (256, 511));
        doubt.why.to_string()
    };
    assert!(refused(&made, None).contains("no archive is named"));
    let away = Archive::at(&folder.path().join("away"));
    assert!(refused(&made, Some(&away)).contains("there is no archive in"));

    // Every byte of the bundle counts, its lengths, too; a file that is not asked for does not.
    let bundle = archive.folder().join("tile/entries/001");
    let bytes = std::fs::read(&bundle).unwrap();
    for place in (0..bytes.len()).step_by(97).chain([1, bytes.len() - 1]) {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        std::fs::write(&bundle, changed).unwrap();
        let why = refused(&made, Some(&archive));
        assert!(why.contains("tile/entries/001 is not what was archived"), "byte {place}: {why}");
    }
    for changed in [Vec::new(), std::fs::read(archive.folder().join("tile/entries/000")).unwrap()] {
        std::fs::write(&bundle, changed).unwrap();
        refused(&made, Some(&archive));
    }
    std::fs::remove_file(&bundle).unwrap();
    assert!(refused(&made, Some(&archive)).contains("tile/entries/001 is not there, and was"));
    std::fs::write(&bundle, &bytes).unwrap();
    let other = archive.folder().join("tile/entries/000");
    let of_other = std::fs::read(&other).unwrap();
    std::fs::write(&other, b"something else").unwrap();
    let ([_, with], _, mending) = walked(&made, Some(&archive));
    assert!(with && mending.doubt().is_none());
    std::fs::write(&other, of_other).unwrap();

    // Changed between the walk and the mending.
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(&bundle, changed).unwrap();
    let damaged = made.reader.tile(0, 1).unwrap();
    let error = made.mend(mending).await.unwrap_err();
    assert!(matches!(error, StoreError::Archived { source: ArchiveError::Changed { .. }, .. }), "{error:?}");
    assert_eq!(made.reader.tile(0, 1).unwrap(), damaged, "nothing was written");
    std::fs::write(&bundle, &bytes).unwrap();

    let ([_, with], _, mending) = walked(&made, Some(&archive));
    assert!(with);
    made.mend(mending).await.unwrap();
    made.verify_with(&archive).unwrap();
}
