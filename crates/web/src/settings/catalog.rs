//! Hides how the event types are shown: by category, each with its fields, its example, and who gets it.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use model::catalog::EventType;
use serde_json::Value;
use store::PageRequest;

use super::answer::{self, Frame, Tab, Trouble};
use super::rooms::Rooms;
use super::session::Visit;
use super::test_event::{example, path_for};
use super::words::{Badge, IN_A_LIST, in_short, name_of};
use crate::App;

/// The most endpoints that a type's page lists.
const RECEIVERS: u32 = 100;

pub(super) fn rooms() -> Rooms {
    Rooms::default()
        .get("/settings/teams/{team}/events", list)
        .get("/settings/teams/{team}/events/{type}", show)
}

struct Category {
    name: String,
    types: Vec<Summary>,
}

struct Summary {
    name: String,
    about: String,
    receivers: usize,
}

#[derive(Template)]
#[template(path = "settings/catalog.html")]
struct Catalog {
    frame: Frame,
    base: String,
    total: usize,
    categories: Vec<Category>,
}

async fn list(visit: Visit, State(app): State<App>) -> Response {
    let names: Vec<&str> = app
        .catalog
        .types()
        .iter()
        .map(|known| &*known.name)
        .collect();
    let counts = app.engine.subscribers(visit.team.id, &names);
    let counts: HashMap<&str, usize> = names.into_iter().zip(counts).collect();
    let summary = |known: &EventType| Summary {
        name: known.name.to_string(),
        about: known.description.clone(),
        receivers: counts.get(&*known.name).copied().unwrap_or(0),
    };
    let category = |name: &str| {
        let types = app
            .catalog
            .types()
            .iter()
            .filter(|known| known.category == name);
        Category {
            name: name.to_owned(),
            types: types.map(summary).collect(),
        }
    };
    let template = Catalog {
        frame: Frame::of(&app, &visit, Tab::Catalog, "Event catalog"),
        base: visit.base(),
        total: app.catalog.types().len(),
        categories: app.catalog.categories().into_iter().map(category).collect(),
    };
    answer::ok(&template)
}

/// A field of a type's data.
struct Field {
    name: String,
    kind: String,
    required: bool,
    about: String,
}

/// An endpoint, and whether it gets the type.
struct Receiver {
    name: String,
    path: String,
    send: String,
    gets: bool,
    badge: Badge,
}

#[derive(Template)]
#[template(path = "settings/event_type.html")]
struct TypePage {
    frame: Frame,
    base: String,
    name: String,
    category: String,
    about: String,
    fields: Vec<Field>,
    example: String,
    schema: String,
    receivers: Vec<Receiver>,
    can_write: bool,
}

async fn show(
    visit: Visit,
    State(app): State<App>,
    Path((_, name)): Path<(String, String)>,
) -> Result<Response, Trouble> {
    let known = app.catalog.get(&name).ok_or(Trouble::Missing)?;
    let first = PageRequest {
        page: 1,
        per_page: RECEIVERS,
    };
    let first = app.engine.store().endpoints(visit.team.id, first).await?;
    let base = visit.base();
    let codec = app.engine.store().codec();
    let receiver = |one: &model::endpoint::Endpoint| {
        let path = format!("{base}/webhooks/{}", codec.uuid(one.id));
        Receiver {
            name: in_short(&name_of(one), IN_A_LIST),
            send: path_for(&path, &name),
            path,
            gets: one.subscription.wants(&name),
            badge: Badge::of_endpoint(one),
        }
    };
    let template = TypePage {
        frame: Frame::of(&app, &visit, Tab::Catalog, &name),
        category: known.category.clone(),
        about: known.description.clone(),
        fields: fields(&known.schema),
        example: example(&app, &name).unwrap_or_default(),
        schema: serde_json::to_string_pretty(&known.schema).unwrap_or_default(),
        receivers: first.rows.iter().map(receiver).collect(),
        can_write: visit.can_write,
        name: name.clone(),
        base: base.clone(),
    };
    Ok(answer::ok(&template))
}

/// The fields of an object's schema, those that must be there first.
fn fields(schema: &Value) -> Vec<Field> {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let properties = schema["properties"].as_object();
    let mut fields: Vec<Field> = properties
        .into_iter()
        .flatten()
        .map(|(name, property)| Field {
            name: name.clone(),
            kind: kind(property),
            required: required.contains(&name.as_str()),
            about: property["description"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        })
        .collect();
    let place = |field: &Field| required.iter().position(|name| *name == field.name);
    fields.sort_by_key(|field| place(field).unwrap_or(required.len()));
    fields
}

/// What a value may be, in a few words: `string (uuid)`, `integer or null`, `array of name, branding`.
fn kind(property: &Value) -> String {
    let types = match &property["type"] {
        Value::String(one) => one.clone(),
        Value::Array(many) => {
            let many: Vec<&str> = many.iter().filter_map(Value::as_str).collect();
            many.join(" or ")
        }
        _ => "any".to_owned(),
    };
    let of = property["items"]["enum"].as_array().map(|words| {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        format!(" of {}", words.join(", "))
    });
    let of = of.or_else(|| Some(format!(" of {}", property["items"]["type"].as_str()?)));
    match (property["format"].as_str(), of) {
        (Some(format), _) => format!("{types} ({format})"),
        (None, Some(of)) => format!("{types}{of}"),
        (None, None) => types,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_becomes_a_table_of_its_fields() {
        let schema = json!({
            "required": ["id", "changes"],
            "properties": {
                "changes": {"type": "array", "items": {"enum": ["a", "b"]}},
                "email": {"type": ["string", "null"]},
                "id": {"type": "string", "format": "uuid", "description": "The id."},
                "tags": {"type": "array", "items": {"type": "string"}},
            }
        });
        let told: Vec<_> = fields(&schema)
            .into_iter()
            .map(|field| format!("{} {} {}", field.name, field.kind, field.required))
            .collect();
        let expected = [
            "id string (uuid) true",
            "changes array of a, b true",
            "email string or null false",
            "tags array of string false",
        ];
        assert_eq!(told, expected);
    }
}
