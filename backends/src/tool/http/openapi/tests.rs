//! Documents as they are written out there.

use super::*;

fn petstore() -> Value {
    json!({
        "openapi": "3.0.3",
        "servers": [{ "url": "https://pets.example/v1/" }],
        "paths": {
            "/pets": {
                "get": {
                    "operationId": "listPets", "summary": "Lists pets.", "description": "All of them.",
                    "parameters": [
                        { "name": "limit", "in": "query", "description": "How many.", "schema": { "type": "integer" } },
                        { "name": "x-trace", "in": "header", "schema": { "type": "string", "nullable": true } },
                        { "name": "session", "in": "cookie", "schema": { "type": "string" } },
                        { "name": "Authorization", "in": "header", "schema": { "type": "string" } },
                    ],
                },
                "post": {
                    "requestBody": { "required": true, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Pet" } } } },
                },
            },
            "/pets/{petId}": {
                "parameters": [{ "$ref": "#/components/parameters/petId" }],
                "get": { "operationId": "showPet" },
            },
        },
        "components": {
            "parameters": { "petId": { "name": "petId", "in": "path", "required": true, "schema": { "type": "string" } } },
            "schemas": { "Pet": {
                "type": "object", "required": ["name"], "example": { "name": "Rex" },
                "properties": { "name": { "type": "string" }, "example": { "type": "string" }, "parent": { "$ref": "#/components/schemas/Pet" } },
            } },
        },
    })
}

#[test]
fn each_operation_becomes_a_tool() {
    let found = operations(&petstore(), None, None, &[]).unwrap().tools;
    let names: Vec<&str> = found.iter().map(|operation| &*operation.spec.name).collect();
    assert_eq!(names, ["listPets", "post_pets", "showPet"]);
    let list = &found[0];
    assert_eq!((list.method.as_str(), list.url.as_str()), ("get", "https://pets.example/v1/pets"));
    assert_eq!(&*list.spec.description, "Lists pets.\nAll of them.");
    let expected = json!({
        "type": "object",
        "properties": {
            "limit": { "type": "integer", "description": "How many." },
            "x-trace": { "type": ["string", "null"] },
        },
        "required": [],
        "additionalProperties": false,
    });
    assert_eq!(list.spec.schema, expected);
    let placement = list.placement.clone().unwrap();
    assert!(placement.query.contains("limit") && placement.header.contains("x-trace"));
    let post = &found[1];
    assert_eq!(post.placement.clone().unwrap().body.as_deref(), Some("body"));
    assert_eq!(post.spec.schema["properties"]["body"]["properties"]["name"], json!({ "type": "string" }));
    assert_eq!(post.spec.schema["required"], json!(["body"]));
    assert_eq!(found[2].url, "https://pets.example/v1/pets/{petId}");
    assert_eq!(found[2].spec.schema["required"], json!(["petId"]));
}

#[test]
fn a_type_that_holds_itself_ends_somewhere() {
    let found = operations(&petstore(), None, Some(&["post_pets".to_owned()]), &[]).unwrap().tools;
    assert_eq!(found.len(), 1);
    let pet = &found[0].spec.schema["properties"]["body"];
    assert_eq!(pet["properties"]["parent"], json!({}));
    assert_eq!(pet["properties"]["example"], json!({ "type": "string" }), "a field may be called so");
    assert_eq!(pet.get("example"), None);
}

#[test]
fn documents_are_read_as_they_are_written_out_there() {
    let mut document = petstore();
    document["servers"] = json!([{
        "url": "https://{region}.pets.example/{version}",
        "variables": { "region": { "default": "eu" }, "version": { "default": "v2" } },
    }]);
    let item = document["paths"]["/pets/{petId}"].take();
    document["components"]["schemas"]["Unit"] = json!({ "type": "string", "enum": ["kg"] });
    document["components"]["pathItems"] = json!({ "pet": item });
    document["paths"] = json!({
        "/pets/{petId}": { "$ref": "#/components/pathItems/pet" },
        ".evil.example/x": { "get": {} },
        "x-internal": { "get": {} },
        "/upload": { "post": { "requestBody": { "content": { "multipart/form-data": {} } } } },
        "/sizes": { "get": { "operationId": "sizes", "parameters": [
            { "name": "min", "in": "query", "schema": { "type": "number", "minimum": 0, "exclusiveMinimum": true } },
            { "name": "max", "in": "query", "schema": { "type": "number", "maximum": 9, "exclusiveMaximum": false } },
            { "name": "kind", "in": "query", "schema": { "type": "string", "nullable": true, "enum": ["a"] } },
            { "name": "unit", "in": "query", "description": "Of what.", "schema": { "nullable": true, "description": "One.", "allOf": [{ "$ref": "#/components/schemas/Unit" }] } },
            { "name": "X-API-Key", "in": "header", "required": true, "schema": { "type": "string" } },
            { "name": "Host", "in": "header", "schema": { "type": "string" } },
        ] } },
    });
    let Operations { tools: found, left_out } = operations(&document, None, None, &["x-api-key"]).unwrap();
    assert_eq!(left_out, [("post_upload".to_owned(), "its body is no JSON".to_owned())]);
    let urls: Vec<&str> = found.iter().map(|operation| operation.url.as_str()).collect();
    assert_eq!(urls, ["https://eu.pets.example/v2/pets/{petId}", "https://eu.pets.example/v2/sizes"]);
    let expected = json!({
        "min": { "type": "number", "exclusiveMinimum": 0 },
        "max": { "type": "number", "maximum": 9 },
        "kind": { "type": ["string", "null"], "enum": ["a", null] },
        "unit": { "description": "One.", "anyOf": [{ "type": "null" }, { "allOf": [{ "type": "string", "enum": ["kg"] }] }] },
    });
    assert_eq!(found[1].spec.schema["properties"], expected);
    assert_eq!(found[1].spec.schema["required"], json!([]));
}

#[test]
fn the_nearest_server_is_called() {
    let mut document = petstore();
    document["paths"]["/pets"]["servers"] = json!([{ "url": "https://lists.example" }]);
    document["paths"]["/pets"]["post"]["servers"] = json!([{ "url": "https://writes.example/v3" }]);
    let urls = |base| {
        let found = operations(&document, base, None, &[]).unwrap();
        found.tools.into_iter().map(|operation| operation.url).collect::<Vec<_>>()
    };
    let own = [
        "https://lists.example/pets",
        "https://writes.example/v3/pets",
        "https://pets.example/v1/pets/{petId}",
    ];
    assert_eq!(urls(None), own);
    let given = urls(Some("https://proxy.example/"));
    assert!(given.iter().all(|url| url.starts_with("https://proxy.example/pets")), "{given:?}");
}

#[test]
fn an_operation_that_cannot_be_called_keeps_nobody_from_the_others() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str, &str); 5] = [
        (
            |d| d["components"]["parameters"] = json!({}),
            "showPet",
            "`#/components/parameters/petId` leads nowhere",
        ),
        (
            |d| d["paths"]["/pets"]["post"]["requestBody"] = json!({ "content": { "text/csv": {} } }),
            "post_pets",
            "its body is no JSON",
        ),
        (
            |d| d["components"]["schemas"]["Pet"] = json!({ "$ref": "#/components/schemas/Pet" }),
            "post_pets",
            "a reference leads in a circle",
        ),
        (
            |d| d["components"]["schemas"]["Pet"] = json!({ "$ref": "http://other.example/x" }),
            "post_pets",
            "leads out of the document",
        ),
        (
            |d| d["components"]["schemas"]["Pet"]["properties"]["photo"] = json!({ "type": "file" }),
            "post_pets",
            "are no JSON Schema",
        ),
    ];
    for (change, name, why) in cases {
        let mut document = petstore();
        change(&mut document);
        let found = operations(&document, None, None, &[]).unwrap();
        assert_eq!(found.tools.len(), 2, "{name}: {why}");
        let (left_out, said) = &found.left_out[0];
        assert!(left_out == name && said.contains(why), "{left_out}: {said}");
        // Who names it needs it.
        let error = operations(&document, None, Some(&[name.to_owned()]), &[]).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(why), "{error}");
    }
}

#[test]
fn a_document_that_cannot_be_used_says_why() {
    let error = |change: fn(&mut Value), only: Option<&[String]>| {
        let mut document = petstore();
        change(&mut document);
        operations(&document, None, only, &[]).unwrap_err().to_string()
    };
    let none = ["fly".to_owned()];
    for (got, why) in [
        (error(|d| d["openapi"] = json!("2.0"), None), "should be 3.0 or 3.1"),
        (
            error(|d| d["servers"] = json!([]), None),
            "none of its operations can be called. `listPets`: it names no server",
        ),
        (error(|_| {}, Some(&none)), "it has no operation `fly`"),
        (error(|d| d["paths"] = json!({}), None), "it has no operations"),
        (
            error(|d| d["paths"]["/pets"]["post"]["operationId"] = json!("listPets"), None),
            "two operations are called `listPets`",
        ),
    ] {
        assert!(got.contains(why), "{got}");
    }
}
