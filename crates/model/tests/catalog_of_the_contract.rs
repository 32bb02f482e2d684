//! The contract's table of event types, spelled out once more, against the catalog compiled in.

use serde_json::value::to_raw_value;
use serde_json::{Map, Value, json};
use vk_model::catalog::{Catalog, EventType};
use vk_model::event::{EventProblem, NewEvent};

/// Type, category and fields: a name, `?` where it may be null or absent, a kind after a colon
/// where it is not a string.
const CONTRACT: [(&str, &str, &str); 21] = [
    ("deal_room.created", "Deal Room", "dealRoomId:uuid name"),
    (
        "deal_room.updated",
        "Deal Room",
        "dealRoomId:uuid name changes:room_changes",
    ),
    (
        "deal_room.published",
        "Deal Room",
        "dealRoomId:uuid name version:integer documentCount:integer",
    ),
    ("deal_room.archived", "Deal Room", "dealRoomId:uuid name"),
    (
        "deal_room.viewed",
        "Deal Room",
        "dealRoomId:uuid linkId:uuid viewerEmail? pageCount:integer duration:integer timestamp:time",
    ),
    (
        "document.added",
        "Document",
        "dealRoomId:uuid documentId:uuid name pageCount?:integer",
    ),
    (
        "document.removed",
        "Document",
        "dealRoomId:uuid documentId:uuid name",
    ),
    (
        "document.published",
        "Document",
        "dealRoomId:uuid documentId:uuid name version:integer",
    ),
    (
        "document.viewed",
        "Document",
        "dealRoomId:uuid documentId:uuid linkId:uuid viewerEmail? pageCount:integer duration:integer timestamp:time",
    ),
    (
        "document.downloaded",
        "Document",
        "dealRoomId:uuid documentId:uuid linkId:uuid viewerEmail? timestamp:time",
    ),
    (
        "viewer.identified",
        "Viewer",
        "dealRoomId:uuid viewerId:uuid linkId:uuid viewerEmail viewerName? timestamp:time",
    ),
    (
        "viewer.email_captured",
        "Viewer",
        "dealRoomId:uuid linkId:uuid viewerEmail timestamp:time",
    ),
    (
        "agreement.signed",
        "Agreement",
        "dealRoomId:uuid agreementId:uuid name signerEmail signerName? signedAt:time",
    ),
    (
        "agreement.declined",
        "Agreement",
        "dealRoomId:uuid agreementId:uuid name signerEmail reason? declinedAt:time",
    ),
    (
        "agreement.expired",
        "Agreement",
        "dealRoomId:uuid agreementId:uuid name expiredAt:time",
    ),
    (
        "link.created",
        "Link",
        "dealRoomId:uuid linkId:uuid name url expiresAt?:time",
    ),
    (
        "link.updated",
        "Link",
        "dealRoomId:uuid linkId:uuid name changes:strings",
    ),
    (
        "link.clicked",
        "Link",
        "dealRoomId:uuid linkId:uuid name viewerEmail? timestamp:time",
    ),
    (
        "link.expired",
        "Link",
        "dealRoomId:uuid linkId:uuid name expiredAt:time",
    ),
    (
        "team.member_joined",
        "Team",
        "teamId:uuid memberId:uuid email role",
    ),
    (
        "team.member_removed",
        "Team",
        "teamId:uuid memberId:uuid email",
    ),
];

struct Field {
    name: &'static str,
    optional: bool,
    kind: &'static str,
}

fn fields(text: &'static str) -> Vec<Field> {
    text.split(' ')
        .map(|field| {
            let (name, kind) = field.split_once(':').unwrap_or((field, "string"));
            Field {
                name: name.trim_end_matches('?'),
                optional: name.ends_with('?'),
                kind,
            }
        })
        .collect()
}

/// Values that a field of this kind takes, and values it does not.
fn values(kind: &str) -> (Vec<Value>, Vec<Value>) {
    let never = vec![json!(true), json!({}), json!([[]])];
    let (good, bad) = match kind {
        "string" => (
            vec![json!(""), json!("é, anything"), json!("x".repeat(5000))],
            vec![json!(1), json!([])],
        ),
        "uuid" => (
            vec![
                json!("0198c6a2-4b1e-7f3a-9c52-6d1f0e8a7b34"),
                json!("7C9E6679-7425-40DE-944B-E07FC1F90AE7"),
            ],
            vec![
                json!(""),
                json!("42"),
                json!("0198c6a24b1e7f3a9c526d1f0e8a7b34"),
                json!(7),
            ],
        ),
        "integer" => (
            vec![json!(0), json!(-1), json!(1), json!(u64::MAX), json!(4.0)],
            vec![json!(0.5), json!("1"), json!([])],
        ),
        "time" => (
            [
                "2026-04-01T12:00:00Z",
                "2026-04-01T12:00:00.123456Z",
                "2026-04-01T12:00:00+00:00",
                "2026-04-01t12:00:00z",
            ]
            .map(Value::from)
            .to_vec(),
            vec![
                json!("2026-04-01T12:00:00+02:00"),
                json!("2026-04-01T12:00:00"),
                json!("2026-04-01"),
                json!("2026-13-01T12:00:00Z"),
                json!("now"),
                json!(1_775_044_800),
            ],
        ),
        "strings" => (
            vec![json!([]), json!(["anything", "x"])],
            vec![json!("name"), json!([1]), json!([null])],
        ),
        "room_changes" => (
            vec![
                json!([]),
                json!([
                    "name",
                    "description",
                    "branding",
                    "settings",
                    "sidebar_order"
                ]),
            ],
            vec![json!("name"), json!(["names"]), json!(["name", 1])],
        ),
        other => panic!("{other}"),
    };
    (good, [bad, never].concat())
}

fn publish(
    catalog: &Catalog,
    known: &EventType,
    data: &Map<String, Value>,
) -> Result<NewEvent, EventProblem> {
    let data = to_raw_value(data).expect("a map of values is JSON");
    NewEvent::new(catalog, &known.name, &data, "/data")
}

#[test]
fn the_catalog_has_the_contracts_types_in_its_categories_and_order() {
    let catalog = Catalog::vantagekit();
    let found: Vec<(&str, &str)> = catalog
        .types()
        .iter()
        .map(|known| (&*known.name, known.category.as_str()))
        .collect();
    assert_eq!(found, CONTRACT.map(|(name, category, _)| (name, category)));
    assert_eq!(
        catalog.categories(),
        [
            "Deal Room",
            "Document",
            "Viewer",
            "Agreement",
            "Link",
            "Team"
        ]
    );
    for known in catalog.types() {
        assert_eq!(catalog.get(&known.name).unwrap().name, known.name);
        assert!(
            known.description.ends_with('.'),
            "{}: a sentence",
            known.name
        );
    }
}

#[test]
fn the_schemas_name_the_contracts_fields_and_explain_each() {
    let catalog = Catalog::vantagekit();
    for (name, _, text) in CONTRACT {
        let schema = &catalog.get(name).unwrap().schema;
        let mut expected: Vec<&str> = fields(text).iter().map(|field| field.name).collect();
        expected.sort_unstable();
        let properties = schema["properties"].as_object().unwrap();
        let mut found: Vec<&str> = properties.keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{name}");
        for (field, property) in properties {
            assert!(
                property["description"]
                    .as_str()
                    .is_some_and(|text| text.ends_with('.')),
                "{name} {field}"
            );
        }
        assert_eq!(schema["type"], "object", "{name}");
        assert_eq!(
            schema["$schema"], "https://json-schema.org/draft/2020-12/schema",
            "{name}"
        );
    }
}

#[test]
fn every_field_is_checked_as_the_contract_says() {
    let catalog = Catalog::vantagekit();
    for (name, _, text) in CONTRACT {
        let known = catalog.get(name).unwrap();
        let mut whole: Map<String, Value> = serde_json::from_str(known.example.get()).unwrap();
        for field in fields(text) {
            whole
                .entry(field.name)
                .or_insert_with(|| values(field.kind).0[0].clone());
        }
        publish(&catalog, known, &whole).unwrap();

        for Field {
            name: field,
            optional,
            kind,
        } in fields(text)
        {
            let pointer = format!("/data/{field}");
            let with = |value: Option<Value>| {
                let mut data = whole.clone();
                match value {
                    Some(value) => data.insert(field.into(), value),
                    None => data.remove(field),
                };
                publish(&catalog, known, &data)
            };
            for empty in [None, Some(Value::Null)] {
                match with(empty.clone()) {
                    Ok(_) => assert!(optional, "{name} {field}: {empty:?} passes"),
                    Err(EventProblem::InvalidPayload { pointer: found, .. }) => {
                        assert!(!optional, "{name} {field}: {empty:?} fails");
                        assert_eq!(found, pointer, "{name}");
                    }
                    Err(other) => panic!("{name} {field}: {other}"),
                }
            }
            let (good, bad) = values(kind);
            for value in good {
                assert!(
                    with(Some(value.clone())).is_ok(),
                    "{name} {field}: {value} fails"
                );
            }
            for value in bad {
                let Err(EventProblem::InvalidPayload {
                    pointer: found,
                    expected,
                    ..
                }) = with(Some(value.clone()))
                else {
                    panic!("{name} {field}: {value} passes");
                };
                assert!(
                    found.starts_with(&pointer),
                    "{name}: {found} is not {pointer}"
                );
                assert!(!expected.is_empty());
            }
        }

        let mut more = whole.clone();
        more.insert("anything".into(), json!({"more": [1, null]}));
        assert!(
            publish(&catalog, known, &more).is_ok(),
            "{name}: unknown fields pass"
        );
    }
}
