//! crash.rs - crash-rust {"path": P}: the task aborts the first time, P marks it.
#[path = "../../../../plugins/hello-rust/aiki.rs"]
mod aiki;

use aiki::{Call, Record, Run, Stop};

fn crash(_: &Call, input: &Record) -> Result<Record, Stop> {
    let path = &input["path"]; // a missing one panics, which fails the attempt
    if !std::path::Path::new(path).exists() {
        std::fs::write(path, "x").expect("the mark is written");
        std::process::abort();
    }
    Ok(input.clone())
}

fn crash_run(run: &mut Run, input: &Record) -> Result<Record, Stop> {
    run.call("crash-rust", input)
}

plugin!("crash-rust", "1.0.0", ["crash-rust" "1.0.0" => crash_run], ["crash-rust" => crash]);
