// Package aiki is what a small plugin in Go needs of aiki/plugin.h.
//
// Payloads are maps of text to text: bring a msgpack package for more. A workflow function is
// called from the top whenever one of its steps is done; steps that are done answer at once.
package aiki

// #cgo pkg-config: aiki-plugin
// #include <stdlib.h>
// #include "glue.h"
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// Error is how a task or a workflow fails. Final: trying again cannot help.
type Error struct {
	Code, Message string
	Final         bool
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Call is one attempt of a task.
type Call struct{ raw *C.aiki_call }

// Run is one call of a workflow function.
type Run struct{ raw *C.struct_go_run }

type TaskFunc func(Call, Record) (Record, error)
type WorkflowFunc func(Run, Record) (Record, error)

// stop leaves a workflow function by panicking: its step is not done, or the host said why.
type stop struct{ status C.aiki_status }

var (
	tasks     = map[string]TaskFunc{}
	workflows []WorkflowFunc
)

// Plugin, Workflow and Task are called by init functions, Plugin first.
func Plugin(name, version string) { C.go_plugin(C.CString(name), C.CString(version)) }

func Workflow(name, version string, fn WorkflowFunc) {
	if !C.go_add_workflow(C.CString(name), C.CString(version)) {
		panic("aiki: too many workflows")
	}
	workflows = append(workflows, fn)
}

func Task(name string, fn TaskFunc) {
	if !C.go_add_task(C.CString(name)) {
		panic("aiki: too many tasks")
	}
	tasks[name] = fn
}

// Task calls a task and gives its output. When it fails for good, so does the workflow.
func (r Run) Task(name string, input Record) Record {
	text, bytes := C.CString(name), pack(input)
	defer C.free(unsafe.Pointer(text))
	var output C.aiki_view
	check(C.go_call(r.raw, text, unsafe.Pointer(&bytes[0]), C.uint64_t(len(bytes)), &output))
	record, err := unpack(view(output))
	if err != nil {
		panic(stop{r.fail(&Error{Code: "BAD_OUTPUT", Message: err.Error()})})
	}
	return record
}

// Sleep waits, as durably as everything else.
func (r Run) Sleep(name string, milliseconds int64) {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	check(C.go_sleep(r.raw, text, C.int64_t(milliseconds)))
}

func check(status C.aiki_status) {
	if status != C.AIKI_OK {
		panic(stop{status})
	}
}

func (r Run) fail(err error) C.aiki_status {
	e := asError(err)
	code, message := C.CString(e.Code), C.CString(e.Message)
	defer C.free(unsafe.Pointer(code))
	defer C.free(unsafe.Pointer(message))
	return C.go_run_fail(r.raw, code, message)
}

func (c Call) fail(err error) C.aiki_status {
	e := asError(err)
	code, message := C.CString(e.Code), C.CString(e.Message)
	defer C.free(unsafe.Pointer(code))
	defer C.free(unsafe.Pointer(message))
	return C.go_task_fail(c.raw, code, message, C.bool(e.Final))
}

func asError(err error) *Error {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Code: "GO_ERROR", Message: err.Error()}
	}
	return e
}

// view borrows the host's bytes.
func view(v C.aiki_view) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v.data)), int(v.size_bytes))
}

//export goReady
func goReady() {}

//export goWorkflow
func goWorkflow(number C.int, raw *C.struct_go_run, input C.aiki_view) (status C.aiki_status) {
	run := Run{raw}
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case stop:
			status = cause.status
		default:
			status = run.fail(&Error{Code: "PANIC", Message: fmt.Sprint(cause)})
		}
	}()
	record, err := unpack(view(input))
	if err == nil {
		record, err = workflows[number](run, record)
	}
	if err != nil {
		return run.fail(err)
	}
	bytes := pack(record)
	return C.go_run_output(raw, unsafe.Pointer(&bytes[0]), C.uint64_t(len(bytes)))
}

//export goTask
func goTask(raw *C.aiki_call, name *C.char, input C.aiki_view) (status C.aiki_status) {
	call := Call{raw}
	defer func() {
		if cause := recover(); cause != nil {
			status = call.fail(&Error{Code: "PANIC", Message: fmt.Sprint(cause)})
		}
	}()
	record, err := unpack(view(input))
	if err == nil {
		record, err = tasks[C.GoString(name)](call, record)
	}
	if err != nil {
		return call.fail(err)
	}
	bytes := pack(record)
	return C.go_task_output(raw, unsafe.Pointer(&bytes[0]), C.uint64_t(len(bytes)))
}
