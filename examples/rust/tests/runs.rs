//! The program runs to its end against a real Chancery on a real SoftHSM, as a test of your own service can.

use std::process::Command;

use chancery_testkit::Chancery;

#[tokio::test]
async fn the_example_runs_to_its_end() -> Result<(), Box<dyn std::error::Error>> {
    let chancery = Chancery::start().await?;
    let output = Command::new(env!("CARGO_BIN_EXE_chancery-example"))
        .arg(chancery.key().await?.to_string())
        .env("CHANCERY_DEV", chancery.dir())
        .output()?;
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{failed}");
    assert!(said.contains("denied"), "it goes to its last step: {said}");
    Ok(())
}
