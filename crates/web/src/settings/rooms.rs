//! Hides how the pages' routes are put together: beside the router a list of them is kept, so that whoever has
//! to see them all (a test that walks each of them as a stranger) can forget none.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{get, post};
use http::Method;

use crate::App;

/// Routes of some of the pages.
#[derive(Default)]
pub(super) struct Rooms {
    router: Router<App>,
    list: Vec<(Method, String)>,
}

impl Rooms {
    /// With a page.
    pub(super) fn get<H, T>(mut self, path: &str, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        self.list.push((Method::GET, path.to_owned()));
        self.router = self.router.route(path, get(handler));
        self
    }

    /// With what takes a form.
    pub(super) fn post<H, T>(mut self, path: &str, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        self.list.push((Method::POST, path.to_owned()));
        self.router = self.router.route(path, post(handler));
        self
    }

    /// With those of another room.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.list.extend(other.list);
        self.router = self.router.merge(other.router);
        self
    }

    pub(super) fn into_router(self) -> Router<App> {
        self.router
    }

    pub(super) fn into_list(self) -> Vec<(Method, String)> {
        self.list
    }
}
