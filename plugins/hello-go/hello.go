// hello.go - the smallest useful plugin in Go: one workflow, one task.
//
//	go build -buildmode=c-shared -o hello-go.so
package main

// #cgo pkg-config: aiki-plugin
// #include <aiki/plugin.h>
// AIKI_NEEDS(""); // no files, no network, no processes
import "C"

import "hello/aiki"

// Real work belongs in tasks: they may block, fail and be repeated.
func greet(call aiki.Call, input aiki.Record) (aiki.Record, error) {
	name, ok := input["name"]
	if !ok {
		return nil, &aiki.Error{Code: "NAME_MISSING", Message: "greet needs a name", Final: true}
	}
	return aiki.Record{"greeting": "Hello, " + name + ", from Go!"}, nil
}

// Says what happens in which order; what a task answered is never asked again.
func hello(run aiki.Run, input aiki.Record) (aiki.Record, error) {
	greeted := run.Task("greet-go", input)
	run.Sleep("rest", 20)
	return greeted, nil
}

func init() {
	aiki.Plugin("hello-go", "1.0.0")
	aiki.Workflow("hello-go", "1.0.0", hello)
	aiki.Task("greet-go", greet)
}

func main() {}
