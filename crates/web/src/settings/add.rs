//! Hides how an endpoint is made: a URL that is checked while it is typed, events by category, and the secret
//! shown once beside code that has it in it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use egress::{ReceiverUrl, UrlForms};
use http::{StatusCode, Uri};
use model::endpoint::Subscription;

use super::answer::{self, Frame, Tab, Trouble};
use super::form::Form;
use super::receivers::{self, Example};
use super::rooms::Rooms;
use super::session::{Change, Visit};
use super::test_event::type_options;
use super::words;
use crate::App;
use crate::body::check_text;
use crate::endpoints::{DESCRIPTION_MAX, read_subscription, read_url};
use crate::problem::Problem;

pub(super) fn rooms() -> Rooms {
    Rooms::default()
        .get("/settings/teams/{team}/webhooks/new", show)
        .get("/settings/teams/{team}/webhooks/check", check)
}

/// The fields that a new endpoint and the settings of one have in common.
pub(super) struct Fields {
    pub(super) url: String,
    pub(super) description: String,
    pub(super) all: bool,
    pub(super) categories: Vec<Category>,
    pub(super) url_problem: Option<String>,
    pub(super) problem: Option<String>,
}

pub(super) struct Category {
    pub(super) name: String,
    pub(super) types: Vec<TypeChoice>,
}

pub(super) struct TypeChoice {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) chosen: bool,
}

impl Fields {
    pub(super) fn of(app: &App, url: &str, description: &str, subscription: &Subscription) -> Self {
        let chosen = |name: &str| *subscription != Subscription::All && subscription.wants(name);
        let categories = app.catalog.categories().into_iter().map(|name| {
            let types = app.catalog.types().iter();
            let types = types.filter(|known| known.category == name);
            let types: Vec<_> = types
                .map(|known| TypeChoice {
                    name: known.name.to_string(),
                    about: known.description.clone(),
                    chosen: chosen(&known.name),
                })
                .collect();
            Category {
                name: name.to_owned(),
                types,
            }
        });
        Self {
            url: url.to_owned(),
            description: description.to_owned(),
            all: *subscription == Subscription::All,
            categories: categories.collect(),
            url_problem: None,
            problem: None,
        }
    }

    /// As they were typed.
    pub(super) fn typed(app: &App, form: &Form, events: &Subscription) -> Self {
        let text = |name| form.again(name).trim();
        let mut fields = Self::of(app, text("url"), text("description"), events);
        fields.all = form.text("events") != "some";
        fields
    }

    /// With what is wrong, said where it is.
    pub(super) fn with(mut self, problem: &Problem) -> Self {
        match problem {
            Problem::InvalidUrl(sentence) => self.url_problem = Some(sentence.clone()),
            problem => self.problem = Some(problem.sentence()),
        }
        self
    }
}

/// The events that a form chooses: all, or whole categories and single types.
pub(super) fn chosen_events(app: &App, form: &Form) -> Result<Subscription, Problem> {
    let whole = form.all("category");
    if form.text("events") != "some" {
        if !whole.is_empty() || !form.all("type").is_empty() {
            return Err(Problem::InvalidRequest(
                "Both all events and single ones are chosen. Untick the single ones, or choose \
                 \u{201c}Chosen events\u{201d}."
                    .into(),
            ));
        }
        return Ok(Subscription::All);
    }
    let of_categories = app.catalog.types().iter();
    let of_categories = of_categories.filter(|known| whole.contains(&known.category.as_str()));
    let mut names: Vec<String> = of_categories.map(|known| known.name.to_string()).collect();
    names.extend(form.all("type").into_iter().map(str::to_owned));
    if names.is_empty() {
        return Err(Problem::InvalidRequest(
            "No event is chosen. Choose at least one type or category, or all events.".into(),
        ));
    }
    read_subscription(app, Some(names))
}

/// A form's description: none where it is empty.
pub(super) fn chosen_description(form: &Form) -> Result<Option<String>, Problem> {
    let text = form.text("description");
    if text.is_empty() {
        return Ok(None);
    }
    check_text("Description", text, DESCRIPTION_MAX)?;
    Ok(Some(text.to_owned()))
}

#[derive(Template)]
#[template(path = "settings/add.html")]
struct Add {
    frame: Frame,
    base: String,
    fields: Fields,
}

async fn show(Change(visit): Change, State(app): State<App>) -> Response {
    let fields = Fields::of(&app, "", "", &Subscription::All);
    add_page(&app, &visit, StatusCode::OK, fields)
}

fn add_page(app: &App, visit: &Visit, status: StatusCode, fields: Fields) -> Response {
    let template = Add {
        frame: Frame::of(app, visit, Tab::Webhooks, "Add an endpoint"),
        base: visit.base(),
        fields,
    };
    answer::page(status, &template)
}

/// What is said of a URL beside its field.
#[derive(Template)]
#[template(path = "settings/url_check.html")]
struct UrlCheck {
    class: &'static str,
    sentence: String,
}

/// Says of a URL what the API would say.
async fn check(_: Change, State(app): State<App>, uri: Uri) -> Response {
    let query = Form::of_query(uri.query());
    let url = query.text("url");
    let (class, sentence) = match read_url(&app, url).await {
        _ if url.is_empty() => ("", String::new()),
        Ok((url, warnings)) if warnings.is_empty() => ("good", good(&url)),
        Ok((_, warnings)) => ("wait", warnings.join(" ")),
        Err(problem) => ("bad", problem.sentence()),
    };
    answer::ok(&UrlCheck { class, sentence })
}

/// What is said of a URL that is fine. A host beyond ASCII is named in both forms, since it may only look
/// like the one that was meant.
fn good(url: &ReceiverUrl) -> String {
    let sentence = "This URL can receive deliveries.";
    match UrlForms::of(url.as_str()) {
        Some(_) => format!("{sentence} Its host is {}.", url.host()),
        None => sentence.to_owned(),
    }
}

#[derive(Template)]
#[template(path = "settings/created.html")]
struct Created {
    frame: Frame,
    base: String,
    path: String,
    name: String,
    /// Where it is not all of the name.
    url: Option<String>,
    secret: String,
    warnings: Vec<String>,
    examples: Vec<Example>,
    types: Vec<String>,
}

/// Makes an endpoint. The answer is the only page that shows its secret.
pub(super) async fn create(
    Change(visit): Change,
    State(app): State<App>,
    form: Form,
) -> Result<Response, Trouble> {
    match try_create(&app, &visit, &form).await {
        Ok(template) => Ok(answer::page(StatusCode::CREATED, &template)),
        Err(problem @ (Problem::Unavailable | Problem::Internal)) => Err(problem.into()),
        Err(problem) => {
            let events = chosen_events(&app, &form).unwrap_or(Subscription::All);
            let fields = Fields::typed(&app, &form, &events).with(&problem);
            Ok(add_page(&app, &visit, problem.status(), fields))
        }
    }
}

async fn try_create(app: &App, visit: &Visit, form: &Form) -> Result<Created, Problem> {
    let description = chosen_description(form)?;
    let events = chosen_events(app, form)?;
    let (url, warnings) = read_url(app, form.text("url")).await?;
    let team = visit.team.id;
    let made = visit
        .hand(app)
        .create_endpoint(team, &url, description, events);
    let endpoint = made.await?;
    let secret = endpoint.secrets.current.expose();
    let id = app.engine.store().codec().uuid(endpoint.id);
    Ok(Created {
        frame: Frame::of(app, visit, Tab::Webhooks, "Your endpoint is ready"),
        base: visit.base(),
        path: format!("{}/webhooks/{id}", visit.base()),
        name: words::name_of(&endpoint),
        url: words::url_below_name(&endpoint, usize::MAX),
        secret: secret.to_owned(),
        warnings,
        examples: receivers::examples(Some(secret), &app.engine.options().brand),
        types: type_options(app, &endpoint.subscription),
    })
}
