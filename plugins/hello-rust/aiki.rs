//! aiki.rs - the part of aiki/plugin.h that a small plugin in Rust needs, without crates.
//!
//! Structs are prefixes of those of the header, in its order; struct_size and the strides tell the
//! host how far they reach. Payloads are maps of text to text: bring a msgpack crate for more.
//!
//! A run that is dropped while it waits is not unwound, so nothing that owns memory may be held
//! across a wait. Therefore a workflow function here never waits itself: a step that is not done
//! makes it return Stop::Waiting (the `?` behind every step does that), `drive` waits, holding
//! nothing, and calls the function again from the top, where done steps answer at once.

#![allow(dead_code)] // a plugin need not use all of it

use std::collections::BTreeMap;
use std::ffi::{c_char, c_void, CStr, CString};
use std::ptr::null;

pub type Record = BTreeMap<String, String>;

const OK: i32 = 0;
const INVALID: i32 = 1;
const FAILED: i32 = 9;
const PENDING: i32 = 20;
const STEPS_MAX: usize = 256;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct View {
    data: *const u8,
    size_bytes: u64,
}

#[repr(C)]
pub struct Error {
    struct_size: u32,
    status: i32,
    category: i32,
    flags: u32,
    retry_after_ms: i64,
    code: [u8; 64],
    message: [u8; 248],
    details: View,
    cause: *const Error,
}

#[repr(C)]
pub struct Call {
    api: *const TaskApi,
}

#[repr(C)]
struct TaskApi {
    struct_size: u32,
    reserved: u32,
    attempt: extern "C" fn(*const Call) -> u32,
    idempotency_key: extern "C" fn(*const Call) -> *const c_char,
    run_id: extern "C" fn(*const Call) -> *const c_char,
    task_name: extern "C" fn(*const Call) -> *const c_char,
    cancelled: extern "C" fn(*const Call) -> bool,
    alloc: extern "C" fn(*mut Call, u64) -> *mut c_void,
    output: extern "C" fn(*mut Call, View) -> i32,
    fail: extern "C" fn(*mut Call, *const Error) -> i32,
}

#[repr(C)]
pub struct RawRun {
    api: *const RunApi,
}

type NewFuture = *mut u32;

#[repr(C)]
struct RunApi {
    struct_size: u32,
    reserved: u32,
    id: extern "C" fn(*const RawRun) -> *const c_char,
    alloc: extern "C" fn(*mut RawRun, u64) -> *mut c_void,
    output: extern "C" fn(*mut RawRun, View) -> i32,
    fail: extern "C" fn(*mut RawRun, *const Error) -> i32,
    task_start: extern "C" fn(*mut RawRun, *const c_char, View, *const c_void, NewFuture, *mut Error) -> i32,
    sleep_start: extern "C" fn(*mut RawRun, *const c_char, i64, NewFuture, *mut Error) -> i32,
    signal_start: extern "C" fn(*mut RawRun, *const c_char, i64, NewFuture, *mut Error) -> i32,
    wait: extern "C" fn(*mut RawRun, *const u32, u32, u32, *mut Error) -> i32,
    result: extern "C" fn(*mut RawRun, u32, *mut View, *mut Error) -> i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Retry {
    struct_size: u32,
    kind: i32,
    attempts_max: u32,
    factor_percent: u32,
    delay_ms: i64,
    delay_ms_max: i64,
    since_1_1: [u64; 4],
}

#[repr(C)]
pub struct TaskDef {
    struct_size: u32,
    flags: u32,
    name: *const u8,
    entry: extern "C" fn(*mut Call, View) -> i32,
    retry: Retry,
    schemas_and_summary: [*const c_void; 3],
}

#[repr(C)]
pub struct WorkflowDef {
    struct_size: u32,
    flags: u32,
    name: *const u8,
    version: *const u8,
    entry: extern "C" fn(*mut RawRun, View, *mut Error) -> i32,
    schemas_and_summary: [*const c_void; 3],
}

#[repr(C)]
pub struct PluginDef {
    pub struct_size: u32,
    pub abi_major: u32,
    pub abi_minor: u32,
    pub reserved: u32,
    pub name: *const u8,
    pub version: *const u8,
    pub language: *const u8,
    pub toolchain: *const u8,
    pub workflows: *const WorkflowDef,
    pub workflow_count: u32,
    pub workflow_stride: u32,
    pub tasks: *const TaskDef,
    pub task_count: u32,
    pub task_stride: u32,
}

// The tables are constant.
unsafe impl Sync for TaskDef {}
unsafe impl Sync for WorkflowDef {}
unsafe impl Sync for PluginDef {}

pub const fn size<T>() -> u32 {
    std::mem::size_of::<T>() as u32
}

/// Names end with a NUL byte.
pub const fn task(name: &'static str, entry: extern "C" fn(*mut Call, View) -> i32) -> TaskDef {
    let retry = Retry { struct_size: size::<Retry>(), kind: 0, attempts_max: 0, factor_percent: 0,
                        delay_ms: 0, delay_ms_max: 0, since_1_1: [0; 4] };
    TaskDef { struct_size: size::<TaskDef>(), flags: 0, name: name.as_ptr(), entry, retry,
              schemas_and_summary: [null(); 3] }
}

pub const fn workflow(name: &'static str, version: &'static str,
                      entry: extern "C" fn(*mut RawRun, View, *mut Error) -> i32) -> WorkflowDef {
    WorkflowDef { struct_size: size::<WorkflowDef>(), flags: 0, name: name.as_ptr(),
                  version: version.as_ptr(), entry, schemas_and_summary: [null(); 3] }
}

/// plugin!("name", "1.0.0", [workflow_name "1.0.0" => function], [task_name => function]);
#[macro_export]
macro_rules! plugin {
    ($name:literal, $version:literal, [$($wname:literal $wversion:literal => $wfn:path),*],
     [$($tname:literal => $tfn:path),*]) => {
        #[no_mangle]
        pub extern "C" fn aiki_plugin_v1(_major: u32, _minor: u32) -> *const aiki::PluginDef {
            static WORKFLOWS: &[aiki::WorkflowDef] = &[$({
                extern "C" fn entry(run: *mut aiki::RawRun, input: aiki::View, err: *mut aiki::Error) -> i32 {
                    aiki::drive($wfn, run, input, err)
                }
                aiki::workflow(concat!($wname, "\0"), concat!($wversion, "\0"), entry)
            }),*];
            static TASKS: &[aiki::TaskDef] = &[$({
                extern "C" fn entry(call: *mut aiki::Call, input: aiki::View) -> i32 {
                    aiki::attempt($tfn, call, input)
                }
                aiki::task(concat!($tname, "\0"), entry)
            }),*];
            static PLUGIN: aiki::PluginDef = aiki::PluginDef {
                struct_size: aiki::size::<aiki::PluginDef>(), abi_major: 1, abi_minor: 0, reserved: 0,
                name: concat!($name, "\0").as_ptr(), version: concat!($version, "\0").as_ptr(),
                language: "rust\0".as_ptr(), toolchain: std::ptr::null(),
                workflows: WORKFLOWS.as_ptr(), workflow_count: WORKFLOWS.len() as u32,
                workflow_stride: aiki::size::<aiki::WorkflowDef>(),
                tasks: TASKS.as_ptr(), task_count: TASKS.len() as u32,
                task_stride: aiki::size::<aiki::TaskDef>(),
            };
            &PLUGIN
        }
    };
}

/// Why a function ends without a result.
pub enum Stop {
    Failed { code: String, message: String, is_final: bool },
    /// The host's own status; its error is in place already.
    Status(i32),
    /// A step is not done. Pass it on with `?`.
    Waiting(u32),
}

/// Of a task: tried again by its policy.
pub fn failed(code: &str, message: &str) -> Stop {
    Stop::Failed { code: code.into(), message: message.into(), is_final: false }
}

/// Of a task: trying again cannot help.
pub fn refused(code: &str, message: &str) -> Stop {
    Stop::Failed { code: code.into(), message: message.into(), is_final: true }
}

fn copy_text(to: &mut [u8], text: &str) {
    let size = text.len().min(to.len() - 1);
    to[..size].copy_from_slice(&text.as_bytes()[..size]);
}

fn error(code: &str, message: &str, is_final: bool) -> Error {
    let mut e = Error { struct_size: size::<Error>(), status: FAILED, category: 0, flags: is_final as u32,
                        retry_after_ms: 0, code: [0; 64], message: [0; 248],
                        details: View { data: null(), size_bytes: 0 }, cause: null() };
    copy_text(&mut e.code, code);
    copy_text(&mut e.message, message);
    e
}

// ---- msgpack: one map of text to text ----

fn view(bytes: &[u8]) -> View {
    View { data: bytes.as_ptr(), size_bytes: bytes.len() as u64 }
}

fn pack(record: &Record) -> Vec<u8> {
    let mut bytes = vec![0xde, (record.len() >> 8) as u8, record.len() as u8];
    for text in record.iter().flat_map(|(key, value)| [key, value]) {
        bytes.push(0xdb);
        bytes.extend((text.len() as u32).to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The number that follows a marker in `width` bytes.
fn number(bytes: &mut &[u8], width: usize) -> Option<usize> {
    let (head, rest) = (bytes.get(..width)?, bytes.get(width..)?);
    *bytes = rest;
    Some(head.iter().fold(0, |n, byte| n << 8 | *byte as usize))
}

fn text(bytes: &mut &[u8]) -> Option<String> {
    let size = match number(bytes, 1)? {
        marker @ 0xa0..=0xbf => marker & 0x1f,
        0xd9 => number(bytes, 1)?,
        0xda => number(bytes, 2)?,
        0xdb => number(bytes, 4)?,
        _ => return None,
    };
    let value = std::str::from_utf8(bytes.get(..size)?).ok()?.to_string();
    *bytes = &bytes[size..];
    Some(value)
}

fn unpack(value: View) -> Option<Record> {
    if value.size_bytes == 0 {
        return None;
    }
    let mut bytes = unsafe { std::slice::from_raw_parts(value.data, value.size_bytes as usize) };
    let count = match number(&mut bytes, 1)? {
        marker @ 0x80..=0x8f => marker & 0x0f,
        0xde => number(&mut bytes, 2)?,
        _ => return None,
    };
    (0..count).map(|_| Some((text(&mut bytes)?, text(&mut bytes)?))).collect()
}

// ---- tasks ----

pub type TaskFn = fn(&Call, &Record) -> Result<Record, Stop>;

impl Call {
    pub fn attempt(&self) -> u32 {
        unsafe { ((*self.api).attempt)(self) }
    }

    pub fn idempotency_key(&self) -> String {
        unsafe { CStr::from_ptr(((*self.api).idempotency_key)(self)).to_string_lossy().into_owned() }
    }
}

/// A panic must not cross into the host; it fails the attempt.
pub fn attempt(task: TaskFn, call: *mut Call, input: View) -> i32 {
    let api = unsafe { &*(*call).api };
    let outcome = match unpack(input) {
        None => Err(refused("BAD_INPUT", "the input is not a map of texts")),
        Some(record) => std::panic::catch_unwind(|| task(unsafe { &*call }, &record))
            .unwrap_or_else(|_| Err(failed("PANIC", "the task panicked"))),
    };
    match outcome {
        Ok(output) => (api.output)(call, view(&pack(&output))),
        Err(Stop::Failed { code, message, is_final }) => {
            (api.fail)(call, &error(&code, &message, is_final))
        }
        Err(Stop::Status(status)) => status,
        Err(Stop::Waiting(_)) => INVALID,
    }
}

// ---- workflows ----

pub type WorkflowFn = fn(&mut Run, &Record) -> Result<Record, Stop>;

/// One call of the workflow function. Steps are numbered in the order it asks for them.
pub struct Run<'a> {
    raw: *mut RawRun,
    err: *mut Error,
    futures: &'a mut [u32; STEPS_MAX],
    step: usize,
}

impl Run<'_> {
    fn api(&self) -> &'static RunApi {
        unsafe { &*(*self.raw).api }
    }

    /// Start the next step unless an earlier call of the function did; answer when it is done.
    fn next(&mut self, start: impl FnOnce(&RunApi, NewFuture) -> i32) -> Result<View, Stop> {
        if self.step == STEPS_MAX {
            return Err(failed("TOO_MANY_STEPS", "a workflow of aiki.rs has at most 256 steps"));
        }
        let step = self.step;
        self.step += 1;
        if self.futures[step] == 0 {
            let api = self.api();
            match start(api, &mut self.futures[step]) {
                OK => (),
                status => return Err(Stop::Status(status)),
            }
        }
        let mut output = View { data: null(), size_bytes: 0 };
        match (self.api().result)(self.raw, self.futures[step], &mut output, self.err) {
            OK => Ok(output),
            PENDING => Err(Stop::Waiting(self.futures[step])),
            status => Err(Stop::Status(status)),
        }
    }

    pub fn call(&mut self, task: &str, input: &Record) -> Result<Record, Stop> {
        let (raw, err) = (self.raw, self.err);
        let (name, bytes) = (CString::new(task).unwrap_or_default(), pack(input));
        let output = self.next(|api, future| {
            (api.task_start)(raw, name.as_ptr(), view(&bytes), null(), future, err)
        })?;
        unpack(output).ok_or_else(|| failed("BAD_OUTPUT", "the output is not a map of texts"))
    }

    pub fn sleep(&mut self, name: &str, duration_ms: i64) -> Result<(), Stop> {
        let (raw, err) = (self.raw, self.err);
        let name = CString::new(name).unwrap_or_default();
        self.next(|api, future| (api.sleep_start)(raw, name.as_ptr(), duration_ms, future, err))?;
        Ok(())
    }
}

/// One call of the function from the top. All it owned is gone when this returns.
fn pass(workflow: WorkflowFn, run: &mut Run, input: View) -> Result<(), Stop> {
    let record = unpack(input).ok_or_else(|| failed("BAD_INPUT", "the input is not a map of texts"))?;
    let output = pack(&workflow(run, &record)?);
    match (run.api().output)(run.raw, view(&output)) {
        OK => Ok(()),
        status => Err(Stop::Status(status)),
    }
}

pub fn drive(workflow: WorkflowFn, raw: *mut RawRun, input: View, err: *mut Error) -> i32 {
    let api = unsafe { &*(*raw).api };
    let mut futures = [0; STEPS_MAX];
    loop {
        let mut run = Run { raw, err, futures: &mut futures, step: 0 };
        let future = match pass(workflow, &mut run, input) {
            Ok(()) => return OK,
            Err(Stop::Failed { code, message, is_final }) => {
                return (api.fail)(raw, &error(&code, &message, is_final))
            }
            Err(Stop::Status(status)) => return status,
            Err(Stop::Waiting(future)) => future,
        };
        match (api.wait)(raw, &future, 1, 1, err) {
            OK => (),
            status => return status,
        }
    }
}

/// needs!("network read:/etc/billing"); what the plugin reaches beyond its own memory, see AIKI_NEEDS of aiki/define.h.
#[macro_export]
macro_rules! needs {
    ($text:literal) => {
        const NEEDS_SIZE: usize = concat!($text, "\0").len();
        #[no_mangle]
        #[allow(non_upper_case_globals)]
        pub static aiki_needs_v1: [u8; NEEDS_SIZE] = {
            let (from, mut to, mut i) = (concat!($text, "\0").as_bytes(), [0u8; NEEDS_SIZE], 0);
            while i < NEEDS_SIZE {
                to[i] = from[i];
                i += 1;
            }
            to
        };
    };
}
