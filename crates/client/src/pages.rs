//! Lists as streams: a page is fetched when its first item is wanted.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_stream::{Stream, StreamExt};

use crate::ClientError;

/// How many items a page asks for.
pub(crate) const PAGE_SIZE: i32 = 500;

/// How many pages without items may follow each other in a list that has none.
const EMPTY_PAGES: u32 = 1_000;

/// One page, and the token of the next; empty on the last. An item that this client does not understand is an error of its
/// own.
pub(crate) type Page<T> = (Vec<Result<T, ClientError>>, String);

type Fetching<T> = Pin<Box<dyn Future<Output = Result<Page<T>, ClientError>> + Send>>;

/// The items of a list, page by page as they are wanted: a [`Stream`], with [`Pages::next`] and [`Pages::collect`] for those
/// who do not use streams. Ends where a page cannot be fetched; an item that this client does not understand (a newer
/// service's) is an error in its place, and the list goes on.
pub struct Pages<T> {
    fetch: Box<dyn FnMut(String) -> Fetching<T> + Send>,
    items: VecDeque<Result<T, ClientError>>,
    state: State<T>,
    /// How many more pages without items are borne with before the next item; `None`: any number, as a search has.
    empty: Option<u32>,
}

enum State<T> {
    /// The token of the next page.
    More(String),
    Fetching(Fetching<T>),
    Ended,
}

impl<T> Pages<T> {
    /// `fetch` takes a page's token; the first one's is empty.
    pub(crate) fn new<F>(mut fetch: impl FnMut(String) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Page<T>, ClientError>> + Send + 'static,
    {
        Self {
            fetch: Box::new(move |token| Box::pin(fetch(token))),
            items: VecDeque::new(),
            state: State::More(String::new()),
            empty: None,
        }
    }

    /// The same of a list whose pages have items, but for the last: a service that says on and on that there is more, and gives
    /// nothing, is an error.
    pub(crate) fn without_empty_pages(self) -> Self {
        Self { empty: Some(EMPTY_PAGES), ..self }
    }

    /// The next item; `None` after the last, and after a page that could not be fetched.
    pub async fn next(&mut self) -> Option<Result<T, ClientError>>
    where
        T: Unpin,
    {
        StreamExt::next(self).await
    }

    /// All items that are left.
    ///
    /// # Errors
    /// The first of any page; those of [`Client::sign`](crate::Client::sign).
    pub async fn collect(mut self) -> Result<Vec<T>, ClientError>
    where
        T: Unpin,
    {
        let mut all = Vec::new();
        while let Some(item) = self.next().await {
            all.push(item?);
        }
        Ok(all)
    }
}

impl<T: Unpin> Stream for Pages<T> {
    type Item = Result<T, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Poll::Ready(Some(item));
            }
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::More(token) => self.state = State::Fetching((self.fetch)(token)),
                State::Fetching(mut fetching) => {
                    let Poll::Ready(page) = fetching.as_mut().poll(context) else {
                        self.state = State::Fetching(fetching);
                        return Poll::Pending;
                    };
                    match page {
                        Ok((items, next)) => {
                            if let Some(left) = self.empty.filter(|_| items.is_empty() && !next.is_empty()) {
                                let Some(left) = left.checked_sub(1) else {
                                    let what =
                                        format!("more than {EMPTY_PAGES} pages of a list without anything on them");
                                    return Poll::Ready(Some(Err(ClientError::Answer { what })));
                                };
                                self.empty = Some(left);
                            } else if !items.is_empty() {
                                self.empty = self.empty.map(|_| EMPTY_PAGES);
                            }
                            self.items.extend(items);
                            self.state = if next.is_empty() { State::Ended } else { State::More(next) };
                        }
                        Err(error) => return Poll::Ready(Some(Err(error))),
                    }
                }
            }
        }
    }
}

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("fetched", &self.items.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Three pages, the second one empty, and how many were fetched.
    fn pages(fail_at: Option<usize>) -> (Pages<u32>, Arc<AtomicUsize>) {
        let fetched = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&fetched);
        let pages = Pages::new(move |token| {
            let page = count.fetch_add(1, Ordering::SeqCst);
            async move {
                if fail_at == Some(page) {
                    return Err(ClientError::StreamEnded);
                }
                Ok(match token.as_str() {
                    "" => (vec![Ok(1), Ok(2)], "b".to_owned()),
                    "b" => (vec![], "c".to_owned()),
                    "c" => (vec![Err(ClientError::StreamEnded), Ok(3)], String::new()),
                    other => panic!("no such page: {other}"),
                })
            }
        });
        (pages, fetched)
    }

    #[tokio::test]
    async fn pages_are_fetched_when_they_are_wanted() {
        let (mut list, fetched) = pages(None);
        assert_eq!(fetched.load(Ordering::SeqCst), 0);
        assert_eq!(list.next().await.unwrap().unwrap(), 1);
        assert_eq!(list.next().await.unwrap().unwrap(), 2);
        assert_eq!(fetched.load(Ordering::SeqCst), 1);
        assert!(list.next().await.unwrap().is_err(), "not understood");
        assert_eq!(list.collect().await.unwrap(), [3], "and the list goes on");
        assert_eq!(fetched.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_service_that_gives_nothing_and_says_that_there_is_more_is_left() {
        let fetched = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&fetched);
        // An item now and then is progress.
        let mut list = Pages::new(move |_| {
            let page = count.fetch_add(1, Ordering::SeqCst);
            async move { Ok((if page == 900 { vec![Ok(1)] } else { vec![] }, "more".to_owned())) }
        })
        .without_empty_pages();
        assert_eq!(list.next().await.unwrap().unwrap(), 1);
        let error = list.next().await.unwrap().unwrap_err();
        assert!(matches!(error, ClientError::Answer { .. }), "{error}");
        assert_eq!(fetched.load(Ordering::SeqCst), 901 + 1_001);
        assert!(list.next().await.is_none());
    }

    #[tokio::test]
    async fn a_page_that_cannot_be_fetched_ends_the_list_after_what_came_before() {
        let (mut list, _) = pages(Some(1));
        assert!(list.next().await.unwrap().is_ok() && list.next().await.unwrap().is_ok());
        assert!(matches!(list.next().await, Some(Err(ClientError::StreamEnded))));
        assert!(list.next().await.is_none());
        assert!(pages(Some(2)).0.collect().await.is_err());
    }
}
