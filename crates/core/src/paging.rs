//! Pages of lists: what is in this one, and where the next one begins.

/// Part of a list.
#[derive(Debug, Clone)]
pub struct Page<T, C> {
    /// The items.
    pub items: Vec<T>,
    /// The last item's place, where there are more after it.
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// The first `limit` of `items`, which must begin after the page before.
    pub(crate) fn take(items: impl Iterator<Item = T>, limit: usize, place: impl Fn(&T) -> C) -> Self {
        let mut items: Vec<T> = items.take(limit.saturating_add(1)).collect();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(place);
        Self { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_has_no_next() {
        let page = Page::take(1..=3, 2, |item| *item);
        assert_eq!((page.items, page.next), (vec![1, 2], Some(2)));
        let page = Page::take(3..=3, 2, |item| *item);
        assert_eq!((page.items, page.next), (vec![3], None));
        let page = Page::take(1..=2, 2, |item| *item);
        assert_eq!((page.items, page.next), (vec![1, 2], None));
    }
}
