//! hello.rs - the smallest useful plugin in Rust: one workflow, one task.
//!   rustc -O --crate-type cdylib -o hello-rust.so hello.rs
mod aiki;

use aiki::{refused, Call, Record, Run, Stop};

/// Real work belongs in tasks: they may block, fail and be repeated.
fn greet(_: &Call, input: &Record) -> Result<Record, Stop> {
    match input.get("name") {
        Some(name) => Ok(Record::from([("greeting".into(), format!("Hello, {name}, from Rust!"))])),
        None => Err(refused("NAME_MISSING", "greet needs a name")),
    }
}

/// Says what happens in which order. Called from the top again whenever a step is done; steps that
/// are done answer at once.
fn hello(run: &mut Run, input: &Record) -> Result<Record, Stop> {
    let greeted = run.call("greet-rust", input)?;
    run.sleep("rest", 20)?;
    Ok(greeted)
}

needs!(""); // no files, no network, no processes
plugin!("hello-rust", "1.0.0", ["hello-rust" "1.0.0" => hello], ["greet-rust" => greet]);
