package commands

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/internal/payload"
	"github.com/leatbus/leat/internal/reason"
)

// How the error of a handler becomes what its caller is told, here and elsewhere alike, and back.

// WithReason returns err with a reason why, and with details unless they are nil:
//
//	return res, commands.WithReason(commands.Errorf(commands.NotFound, "no user %d", id), "user.unknown", Unknown{ID: id})
//
// The caller finds both in the *Error, by errors.As, however far away it is:
//
//	var e *commands.Error
//	if errors.As(err, &e) && e.Reason == "user.unknown" { json.Unmarshal(e.Details, &unknown) }
//
// An err that is no *Error becomes the cause of one with the code Internal; nil stays nil. If the reason or the details
// are not as [Error] wants them, the result is an Internal error that says so.
func WithReason(err error, why string, details any) error {
	if err == nil {
		return nil
	}
	e := &Error{Code: Internal, Message: err.Error(), Err: err}
	if own, ok := err.(*Error); ok && own != nil {
		copied := *own
		e, e.of = &copied, made
	}
	e.Reason, e.Details = why, nil
	if details != nil {
		body, failed := payload.Encode(details)
		if failed != nil {
			return &Error{Code: Internal, Message: fmt.Sprintf("the details of an error do not encode: %v", failed), Err: err}
		}
		e.Details = body
	}
	if problem := reason.Check(e.Reason, e.Details); problem != nil {
		return &Error{Code: Internal, Message: problem.Error(), Err: err}
	}
	return e
}

// verdict is what a caller is told of a handler's error.
type verdict struct {
	code    Code
	text    string
	reason  string
	details []byte
}

// unspeakable stands for an error with methods that panic, as those of a nil
// pointer in an error do.
const unspeakable = "handler returned an error whose Error method panicked"

// judge says what the caller is told of err, which a handler has returned. It survives what err's methods do.
func judge(err error) (v verdict) {
	defer func() {
		if recover() != nil {
			v = verdict{code: Internal, text: unspeakable}
		}
	}()
	v.code = Internal
	switch {
	case has(err, panicked):
		v.text = "handler panicked" // the value, and with Watermill's Recoverer the stack, stay on this side
		return v
	case has(err, func(err error) bool { return err == context.DeadlineExceeded || isDeadline(err) }):
		v.code = Timeout
	}
	v.text = err.Error()
	e := chosen(err)
	if e == nil {
		return v
	}
	v.code = e.Code.ofReply()
	if e.Reason != "" || e.Details != nil {
		if problem := reason.Check(e.Reason, e.Details); problem != nil {
			return verdict{code: Internal, text: problem.Error()}
		}
		v.reason, v.details = e.Reason, bytes.Clone(e.Details)
	}
	return v
}

// chosen returns the *Error by which the handler chose what the caller is told: the first in the chain of err that user code
// made. What a nested call failed with, and what that wraps, is a cause and not a choice.
func chosen(err error) (e *Error) {
	has(err, func(err error) bool {
		if own, ok := err.(*Error); ok && own != nil && own.Code != "" {
			e = own
			return true
		}
		var as *Error
		if a, ok := err.(interface{ As(any) bool }); ok && a.As(&as) && as != nil && as.Code != "" && as.of != called {
			e = as
		}
		return e != nil
	})
	return e
}

// has reports whether is holds for err or for something that it wraps, in the order of errors.As, but not below what a
// nested call failed with, nor for that.
func has(err error, is func(error) bool) bool {
	for err != nil {
		if e, ok := err.(*Error); ok && (e == nil || e.of == called) {
			return false
		}
		if is(err) {
			return true
		}
		switch w := err.(type) {
		case interface{ Unwrap() error }:
			err = w.Unwrap()
		case interface{ Unwrap() []error }:
			for _, err := range w.Unwrap() {
				if has(err, is) {
					return true
				}
			}
			return false
		default:
			return false
		}
	}
	return false
}

// isDeadline is for errors that say by themselves that they are a deadline's.
func isDeadline(err error) bool {
	i, ok := err.(interface{ Is(error) bool })
	return ok && i.Is(context.DeadlineExceeded)
}

// panicError is a recovered panic of a handler. Its text stays on this side.
type panicError struct{ value any }

func (p *panicError) Error() string { return fmt.Sprintf("handler panicked: %v", p.value) }

func panicked(err error) bool {
	switch err.(type) {
	case *panicError, middleware.RecoveredPanicError, *middleware.RecoveredPanicError:
		return true
	}
	return false
}

// failure is the error of a local call when its handler has failed with err: the same as a remote caller gets, with err as its cause.
func failure(command string, err error) *Error {
	v := judge(err)
	e := &Error{Code: v.code, Command: command, Message: v.text, Err: err, Reason: v.reason, Details: v.details}
	if own, ok := err.(*Error); ok && own != nil && own.of == made {
		e.Err = own.Err // it is e but for what leat adds
	}
	return e
}

// FaultOf returns what a remote caller is told of err, an error that a handler has returned, which must not be nil: code,
// text, reason and details. It is for handler middleware that makes the reply itself. Methods of err may panic.
func FaultOf(err error) *bus.Fault { return faultOf(err) }

// faultOf turns a handler's error into what the reply says. It may run outside
// of everything that recovers.
func faultOf(err error) *bus.Fault {
	v := judge(err)
	return &bus.Fault{Code: string(v.code), Message: strings.ToValidUTF8(v.text, "\uFFFD"), Reason: v.reason, Details: v.details}
}

// fault is e as a reply says it.
func (e *Error) fault() *bus.Fault {
	return &bus.Fault{Code: string(e.Code), Message: e.Error(), Reason: e.Reason, Details: e.Details}
}

// fromFault turns what a reply says into an error. An unknown code is an
// internal error with that message.
func fromFault(command string, f *bus.Fault) *Error {
	return &Error{Code: Code(f.Code).known(), Command: command, Message: f.Message, Reason: f.Reason, Details: f.Details}
}

// spellable is f as it may be sent on: a code that is not the protocol's is
// an internal error with the same text.
func spellable(f *bus.Fault) *bus.Fault {
	code := Code(f.Code).ofReply()
	if string(code) == f.Code {
		return f
	}
	g := *f
	g.Code = string(code)
	return &g
}
