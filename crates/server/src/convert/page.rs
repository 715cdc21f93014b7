//! Pages. A token holds where the next page begins, and a checksum of the list that it is of, so that a token of another
//! list is refused and not followed.

use super::fields::invalid;
use chancery_core::{AccessPlace, Error};
use chancery_model::{ApiKeyId, Id};

const DEFAULT_PAGE_SIZE: i32 = 100;
const MAX_PAGE_SIZE: i32 = 1000;

/// Which page of which list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PageOf {
    /// Tells lists apart: a checksum of method, parent and filters.
    list: u32,
    /// At most so many items.
    pub(crate) size: usize,
    /// Where the page begins; `None` for the first page.
    cursor: Option<String>,
}

impl PageOf {
    /// `list` names the method, the parent and all filters: whatever makes this list another one.
    pub(super) fn parse(list: &str, page_size: i32, page_token: &str) -> Result<Self, Error> {
        let size = if page_size == 0 { DEFAULT_PAGE_SIZE } else { page_size };
        if !(1..=MAX_PAGE_SIZE).contains(&size) {
            let description = format!("must be from 1 to {MAX_PAGE_SIZE}, or 0 for {DEFAULT_PAGE_SIZE}");
            return Err(invalid("page_size", description));
        }
        let list = crc32c::crc32c(list.as_bytes());
        let cursor = match page_token {
            "" => None,
            token => Some(cursor(list, token).ok_or_else(bad_token)?),
        };
        Ok(Self { list, size: usize::try_from(size).unwrap_or(1), cursor })
    }

    /// Where the page begins, for lists by id.
    pub(crate) fn after(&self) -> Result<Option<Id>, Error> {
        let id = |text: &String| Id::parse("the page token", text).map_err(|_not_ours| bad_token());
        self.cursor.as_ref().map(id).transpose()
    }

    /// Where the page begins, for lists by the ids of API keys.
    pub(crate) fn after_api_key(&self) -> Result<Option<ApiKeyId>, Error> {
        self.cursor.as_ref().map(|text| text.parse().map_err(|_not_ours| bad_token())).transpose()
    }

    /// Where the page begins, for lists by number.
    pub(crate) fn number<N: std::str::FromStr>(&self) -> Result<Option<N>, Error> {
        self.cursor.as_ref().map(|text| text.parse().map_err(|_not_ours| bad_token())).transpose()
    }

    /// Where the page begins, for reviews of access.
    pub(crate) fn place(&self) -> Result<Option<AccessPlace>, Error> {
        self.cursor.as_ref().map(|text| text.parse().map_err(|()| bad_token())).transpose()
    }

    /// The token for the page that begins at `cursor`; empty where there is none.
    pub(crate) fn next(&self, cursor: Option<impl ToString>) -> String {
        cursor.map_or_else(String::new, |cursor| {
            let plain = format!("{:08x}{}", self.list, cursor.to_string());
            plain.bytes().map(|byte| format!("{byte:02x}")).collect()
        })
    }
}

fn bad_token() -> Error {
    invalid(
        "page_token",
        "is not of this list; repeat the first request unchanged but for the token, or begin without one",
    )
}

/// What [`PageOf::next`] put into a token of this list.
fn cursor(list: u32, token: &str) -> Option<String> {
    let (pairs, []) = token.as_bytes().as_chunks::<2>() else { return None };
    let bytes = pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let plain = String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()?;
    let cursor = plain.strip_prefix(&format!("{list:08x}"))?;
    (!cursor.is_empty()).then(|| cursor.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::signing::tests::violation;

    #[test]
    fn a_token_leads_to_the_next_page_of_the_same_list() {
        let first = PageOf::parse("ListKeys keyRings/a", 2, "").unwrap();
        assert_eq!((first.size, first.after().unwrap()), (2, None));
        let token = first.next(Some(Id::parse("the key id", "jwt-1").unwrap()));
        let second = PageOf::parse("ListKeys keyRings/a", 0, &token).unwrap();
        assert_eq!(second.size, 100);
        assert_eq!(second.after().unwrap().unwrap().as_str(), "jwt-1");
        assert_eq!(second.next(None::<Id>), "");
    }

    #[test]
    fn tokens_of_other_lists_and_garbage_are_refused() {
        let token = PageOf::parse("ListKeys keyRings/a", 2, "").unwrap().next(Some("jwt-1"));
        for (list, token) in [
            ("ListKeys keyRings/b", token.as_str()),
            ("ListKeys keyRings/a", &token[1..]),
            ("ListKeys keyRings/a", "zz"),
            ("ListKeys keyRings/a", "ä"),
            ("ListKeys keyRings/a", "+1+1"),
            ("ListKeys keyRings/a", &token[..16]),
        ] {
            let (field, description) = violation(PageOf::parse(list, 0, token).unwrap_err());
            assert_eq!(field, "page_token");
            assert!(description.starts_with("is not of this list"), "{token}");
        }
        let of_numbers = PageOf::parse("ListKeys keyRings/a", 2, &token).unwrap();
        assert_eq!(violation(of_numbers.number::<u32>().unwrap_err()).0, "page_token");
    }

    #[test]
    fn a_page_has_1_to_1000_items() {
        for size in [-1, 1001, i32::MIN] {
            let (field, description) = violation(PageOf::parse("ListKeys", size, "").unwrap_err());
            assert_eq!((field.as_str(), description.as_str()), ("page_size", "must be from 1 to 1000, or 0 for 100"));
        }
        assert_eq!(PageOf::parse("ListKeys", 1000, "").unwrap().size, 1000);
    }
}
