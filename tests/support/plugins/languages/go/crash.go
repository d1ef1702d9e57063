// crash.go - crash-go {"path": P}: a goroutine of the task panics the first time, P marks it.
package main

import (
	"os"

	"hello/aiki"
)

func crash(call aiki.Call, input aiki.Record) (aiki.Record, error) {
	path := input["path"]
	if _, err := os.Stat(path); err != nil {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			return nil, err
		}
		go func() { panic("nobody recovers this") }()
		select {}
	}
	return input, nil
}

func crashRun(run aiki.Run, input aiki.Record) (aiki.Record, error) {
	return run.Task("crash-go", input), nil
}

func init() {
	aiki.Plugin("crash-go", "1.0.0")
	aiki.Workflow("crash-go", "1.0.0", crashRun)
	aiki.Task("crash-go", crash)
}

func main() {}
