//! What is on disk gives nothing away: no secret, no key and no token, and nothing works without the key
//! that secrets are sealed with.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Result;
use serde_json::json;
use vk_tests::{Answer, OPERATOR_KEY, Setup, member_removed, verify};

/// Whether any file of the folder holds this text.
fn anywhere(folder: &Path, text: &str) -> Result<Option<String>> {
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        let bytes = std::fs::read(&path)?;
        let mut windows = bytes.windows(text.len());
        if windows.any(|window| window == text.as_bytes()) {
            return Ok(Some(path.display().to_string()));
        }
    }
    Ok(None)
}

#[tokio::test]
async fn no_file_of_the_store_holds_a_secret_a_key_or_a_token() -> Result<()> {
    let setup = Setup::new()?;
    let inbox = setup.inbox().await?;
    inbox.always(Answer::status(200));
    let service = setup.start(&[]).await?;
    let team = service.team("acme").await?;
    let endpoint = team.endpoint(&inbox.url(), &[]).await?;
    let rotate = format!("/v1/webhook-endpoints/{}/rotate-secret", endpoint.id);
    let rotated = team.call("POST", &rotate, &json!({}), 200).await?;
    let second = rotated.data()["secret"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let key = json!({"name": "second", "scopes": ["read"]});
    let operator = service.operator();
    let key = operator
        .call("POST", "/v1/teams/acme/api-keys", &key, 201)
        .await?;
    let key = key.data()["key"].as_str().unwrap_or_default().to_owned();
    let link = "/v1/teams/acme/settings-link";
    let link = operator.call("POST", link, &json!({}), 201).await?;
    let link = link.data()["url"].as_str().unwrap_or_default().to_owned();
    let (_, token) = link.split_once("token=").unwrap_or_default();
    team.publish("team.member_removed", &member_removed())
        .await?;
    inbox.wait_for(1).await;
    let behind_prefix = |text: &str| text[text.len() - 30..].to_owned();
    let all = [
        behind_prefix(&endpoint.secret),
        behind_prefix(&second),
        behind_prefix(&key),
        behind_prefix(OPERATOR_KEY),
        token.to_owned(),
    ];
    for text in &all {
        assert!(text.len() >= 30, "{text:?} is too short to be looked for");
        let found = anywhere(setup.folder.path(), text)?;
        assert_eq!(found, None, "while it runs: {text}");
    }
    let (status, log) = service.terminate().await?;
    assert!(status.success(), "{log}");
    for text in &all {
        assert_eq!(anywhere(setup.folder.path(), text)?, None, "afterwards");
        assert!(!log.contains(text.as_str()), "the log holds it");
    }
    assert!(
        anywhere(setup.folder.path(), "acme")?.is_some(),
        "it was looked for rightly"
    );
    Ok(())
}

#[tokio::test]
async fn the_sealing_key_is_made_once_and_nothing_goes_without_it() -> Result<()> {
    let setup = Setup::new()?;
    let file = setup.folder.path().join("store.db.key");
    let inbox = setup.inbox().await?;
    inbox.always(Answer::status(200));
    let service = setup.start(&[]).await?;
    assert!(
        service.log().contains("keep a copy of it"),
        "{}",
        service.log()
    );
    let mode = std::fs::metadata(&file)?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "others may read the key");
    let team = service.team("acme").await?;
    let endpoint = team.endpoint(&inbox.url(), &[]).await?;
    service.terminate().await?;

    // Away: refused, and no new one is made.
    let elsewhere = setup.folder.path().join("moved.key");
    std::fs::rename(&file, &elsewhere)?;
    let refused = setup.start(&[]).await.err().map(|error| error.to_string());
    let refused = refused.unwrap_or_default();
    assert!(
        refused.contains("Restore the file from its backup"),
        "{refused}"
    );
    assert!(!file.exists(), "a key was made that opens nothing");

    // Another one: refused.
    std::fs::write(&file, "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n")?;
    let refused = setup.start(&[]).await.err().map(|error| error.to_string());
    let refused = refused.unwrap_or_default();
    assert!(refused.contains("sealed with the key"), "{refused}");

    // Moved, and then with a new key before it: deliveries are signed as ever.
    let moved = elsewhere.display().to_string();
    let old = std::fs::read_to_string(&elsewhere)?;
    let both = format!("{}{old}", std::fs::read_to_string(&file)?);
    for (arrived, keys) in (1..).zip([old, both]) {
        std::fs::write(&elsewhere, keys)?;
        let service = setup.start(&["--secrets-key-file", &moved]).await?;
        let team = service.operator_of("acme");
        team.publish("team.member_removed", &member_removed())
            .await?;
        for arrival in inbox.wait_for(arrived).await {
            assert_eq!(verify(&arrival, &endpoint.secret), Ok(()));
        }
        service.terminate().await?;
    }
    Ok(())
}
