//! Failures that come again and again: told once, and again when they are others.

use std::error::Error;

/// What was told last.
#[derive(Default)]
pub(crate) struct Told(Option<String>);

impl Told {
    /// Whether this is another failure than the one before.
    pub fn is_news(&mut self, error: &(dyn Error + 'static)) -> bool {
        let mut now = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            now = format!("{now}: {error}");
            cause = error.source();
        }
        let now = Some(now);
        let is_news = self.0 != now;
        self.0 = now;
        is_news
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("it failed")]
    struct Failed(#[source] io::Error);

    #[test]
    fn what_is_the_same_down_to_its_cause_is_no_news() {
        let failed = |cause: &str| Failed(io::Error::other(cause.to_owned()));
        let mut told = Told::default();
        let news = ["away", "away", "latched", "latched", "away"].map(|cause| told.is_news(&failed(cause)));
        assert_eq!(news, [true, false, true, false, true]);
    }
}
