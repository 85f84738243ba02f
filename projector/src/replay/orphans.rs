use domain::Version;
use futures::stream::{self, BoxStream, StreamExt as _};
use storage::{StoredView, Unavailable, ViewPage};

use crate::ReadModel;

/// What a page of the views table holds that no log accounts for.
pub(super) struct Orphans {
    /// Views of users without a log.
    pub views: Vec<StoredView>,
    /// Items whose key is no user id.
    pub malformed: u64,
}

/// The views whose users have no log, and those of nobody, page by page.
///
/// A view is read before it is asked whether its user's log has begun, so the view of a user who is registering is
/// not taken for one. A log that lacks its first commit is broken, not missing.
pub(super) fn orphans(model: &ReadModel) -> BoxStream<'_, Result<Orphans, Unavailable>> {
    stream::try_unfold(Some(None), async |place| {
        let Some(from) = place else { return Ok(None) };
        let ViewPage { views, malformed, next } = model.views.page(from).await?;
        let users: Vec<_> = views.iter().map(|stored| stored.user).collect();
        let begun = model.log.begun(&users).await?;
        let mut found = Vec::new();
        for stored in views.into_iter().filter(|stored| !begun.contains(&stored.user)) {
            let log = model.log.fold(stored.user).await?;
            if log.outcome.is_ok_and(|snapshot| snapshot.head.version == Version::NONE) {
                found.push(stored);
            }
        }
        Ok(Some((Orphans { views: found, malformed }, next.map(Some))))
    })
    .boxed()
}
