// Package contain runs code that is not leat's, so that what ends it ends nothing else.
package contain

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// ErrExited is the error of a function that ended its goroutine, as runtime.Goexit does and testing.T.FailNow.
var ErrExited = errors.New("it ended its goroutine")

// Panic is the error of a function that panicked. Its text names the value and not the stack, which may tell secrets.
type Panic struct {
	Value any
	Stack []byte
}

func (p *Panic) Error() string { return fmt.Sprintf("it panicked: %v", p.Value) }

// Do runs fn on a goroutine of its own and waits for it. It returns nil, a *Panic or [ErrExited].
//
// It costs about a microsecond. Use it where the caller's goroutine is not the one to end: a pump, a caller's own.
func Do(fn func()) (err error) {
	done := make(chan struct{})
	go func() {
		err = ErrExited
		defer close(done)
		defer func() {
			if v := recover(); v != nil {
				err = &Panic{v, debug.Stack()}
			}
		}()
		fn()
		err = nil
	}()
	<-done
	return err
}
