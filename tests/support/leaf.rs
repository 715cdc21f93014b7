//! Reads leaves of the log by `docs/audit-record.md` alone. Shares no code with the service: what it cannot read, nobody
//! else can who has only that page.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first leaf that is not as specified"
)]

/// A leaf of the log.
#[derive(Debug)]
pub struct Leaf {
    /// The state's epoch, after the change that the leaf records.
    pub epoch: u64,
    /// Microseconds since 1970.
    pub time: i64,
    /// The instance that recorded it.
    pub instance: String,
    /// The rest, by kind.
    pub body: Body,
    /// To the details.
    pub commitment: Vec<u8>,
}

/// What a leaf says, by its kind. Uids and hashes as bytes; codes as numbers.
#[allow(missing_docs, reason = "named as docs/audit-record.md names them")]
#[derive(Debug)]
pub enum Body {
    Intent {
        caller: Vec<u8>,
        resource: Vec<u8>,
        action: u16,
        decision: u8,
        policy_set: Vec<u8>,
    },
    Act {
        caller: Vec<u8>,
        resource: Vec<u8>,
        action: u16,
        decision: u8,
        policy_set: Vec<u8>,
        opens: bool,
        continues: bool,
        rows: usize,
    },
    Outcome {
        continues: bool,
        items: Vec<(u64, u8, Vec<u8>)>,
        rows: usize,
    },
    Denial {
        caller: Vec<u8>,
        resource: Vec<u8>,
        action: u16,
        reason: u8,
        count: u32,
    },
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take(&mut self, length: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at_checked(length).expect("bytes are missing");
        self.0 = rest;
        taken.to_vec()
    }

    fn number(&mut self, length: usize) -> u64 {
        self.take(length).into_iter().fold(0, |number, byte| (number << 8) | u64::from(byte))
    }

    fn small<T: TryFrom<u64>>(&mut self, length: usize) -> T
    where
        T::Error: std::fmt::Debug,
    {
        T::try_from(self.number(length)).unwrap()
    }

    /// Table, row id and commitment of each row that changed.
    fn rows(&mut self) -> usize {
        let count = self.small::<usize>(2);
        assert!(count <= 512);
        for _ in 0..count {
            assert!((1..=4).contains(&self.number(1)), "table");
            self.take(16);
            self.take(32);
        }
        count
    }
}

impl Leaf {
    /// Reads a leaf whole.
    ///
    /// # Panics
    /// Where the leaf is not as the specification says.
    #[must_use]
    pub fn read(leaf: &[u8]) -> Self {
        assert!(leaf.len() <= 65_535);
        let mut bytes = Bytes(leaf);
        assert_eq!(bytes.number(1), 1, "version");
        let kind = bytes.number(1);
        let epoch = bytes.number(8);
        let time = bytes.number(8).cast_signed();
        let length = bytes.small(1);
        let instance = String::from_utf8(bytes.take(length)).unwrap();
        let body = match kind {
            1 => Body::Intent {
                caller: bytes.take(16),
                resource: bytes.take(16),
                action: bytes.small(2),
                decision: bytes.small(1),
                policy_set: bytes.take(32),
            },
            2 => {
                let flags = bytes.number(1);
                assert_eq!(flags & !2, 0, "flags");
                let count = bytes.small::<usize>(2);
                let items = (0..count).map(|_| {
                    let (index, result) = (bytes.number(8), bytes.small(1));
                    let hash = match bytes.number(1) {
                        0 => Vec::new(),
                        1 => bytes.take(32),
                        other => panic!("neither a hash nor none: {other}"),
                    };
                    (index, result, hash)
                });
                Body::Outcome { continues: flags & 2 != 0, items: items.collect(), rows: bytes.rows() }
            }
            3 => {
                let (caller, resource) = (bytes.take(16), bytes.take(16));
                let (action, decision, policy_set) = (bytes.small(2), bytes.small(1), bytes.take(32));
                let flags = bytes.number(1);
                assert_eq!(flags & !3, 0, "flags");
                let (opens, continues) = (flags & 1 != 0, flags & 2 != 0);
                Body::Act { caller, resource, action, decision, policy_set, opens, continues, rows: bytes.rows() }
            }
            4 => Body::Denial {
                caller: bytes.take(16),
                resource: bytes.take(16),
                action: bytes.small(2),
                reason: bytes.small(1),
                count: bytes.small(4),
            },
            other => panic!("kind {other}"),
        };
        let commitment = bytes.take(32);
        assert!(bytes.0.is_empty(), "bytes are left over");
        Self { epoch, time, instance, body, commitment }
    }
}
