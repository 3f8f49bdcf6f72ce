package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message/router/middleware"

	"github.com/leatbus/leat/bus"
)

// Code classifies a failure. It is what crosses the wire; the set is closed.
type Code string

// The codes. The first five are the protocol's.
const (
	NotFound            Code = "not_found"            // nobody executes the command
	InvalidRequest      Code = "invalid_request"      // the request does not fit the command's schema
	Internal            Code = "internal_error"       // the handler failed, or leat could not do what was asked
	Timeout             Code = "timeout"              // no reply in time
	ChannelDisconnected Code = "channel_disconnected" // the link that the call needs is not there, or ended
	DuplicateCommand    Code = "duplicate_command"    // the ID is taken; registration only
)

// Sentinels for [errors.Is], which compares codes: they match after any
// number of hops. An [ErrTimeout] also matches [context.DeadlineExceeded].
var (
	ErrNotFound            error = &Error{Code: NotFound}
	ErrInvalidRequest      error = &Error{Code: InvalidRequest}
	ErrInternal            error = &Error{Code: Internal}
	ErrTimeout             error = &Error{Code: Timeout}
	ErrChannelDisconnected error = &Error{Code: ChannelDisconnected}
	ErrDuplicateCommand    error = &Error{Code: DuplicateCommand}

	// ErrClosed is returned by everything after Close; it comes with the code
	// ChannelDisconnected where it is an *Error.
	ErrClosed = bus.ErrClosed
)

// Error is how a command fails. A handler returns one, made with [Errorf], to
// choose the code; any other error of a handler becomes Internal (Timeout if
// it is a deadline's).
//
// Code and the text cross the wire; Command and Err do not.
type Error struct {
	Code    Code
	Command string // the command, where known
	Message string // text for people, unprefixed, however many hops it made
	Err     error  // the cause, on the side where it arose; may be nil
}

// Errorf returns an *Error with the formatted text, which is sent to remote
// callers. %w sets the cause.
func Errorf(code Code, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// Error returns Message, or the code and the command when there is none.
func (e *Error) Error() string {
	switch {
	case e.Message != "":
		return e.Message
	case e.Command != "":
		return string(e.Code) + ": " + e.Command
	}
	return string(e.Code)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is the sentinel of e's code.
func (e *Error) Is(target error) bool {
	if target == context.DeadlineExceeded {
		return e.Code == Timeout
	}
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Command == "" && t.Message == "" && t.Err == nil
}

// CodeOf returns the code of err as a remote caller would see it: that of the
// *Error in its chain, Timeout for a deadline, else Internal.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case errors.As(err, &e) && e != nil && e.Code != "":
		return e.Code
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	}
	return Internal
}

// failure is the error of a command that failed with err, as Execute returns
// it: err itself where it is an *Error already, a wrapped one otherwise. The
// caller recovers: methods of err are user code.
func failure(command string, err error) error {
	if e, ok := err.(*Error); ok && e.Code != "" {
		return err
	}
	return &Error{Code: CodeOf(err), Command: command, Message: text(err), Err: err}
}

// text is what may cross the wire of err. Watermill's Recoverer puts the stack
// into the error's text; that stays here.
func text(err error) string {
	var e *Error
	var panicked middleware.RecoveredPanicError
	switch {
	case errors.As(err, &panicked), errors.As(err, new(*panicError)):
		return "handler panicked"
	case errors.As(err, &e) && error(e) == err:
		return e.Error()
	}
	return err.Error()
}

// unspeakable stands for an error whose own methods panic, as those of a nil
// pointer in an error do.
const unspeakable = "the handler's error panicked when it was asked for its text"

// FaultOf returns what a remote caller is told of a handler's error: for handler middleware that makes the reply itself.
func FaultOf(err error) *bus.Fault { return faultOf(err) }

// faultOf turns a handler's error into what the reply says. It may run outside
// of everything that recovers.
func faultOf(err error) (f *bus.Fault) {
	defer func() {
		if v := recover(); v != nil {
			f = &bus.Fault{Code: string(Internal), Message: unspeakable}
		}
	}()
	code := CodeOf(err)
	if code == DuplicateCommand { // not a code of the protocol's replies
		code = Internal
	}
	return &bus.Fault{Code: string(code), Message: strings.ToValidUTF8(text(err), "\uFFFD")}
}

// fromFault turns what a reply says into an error. An unknown code is an
// internal error with that message.
func fromFault(command string, f *bus.Fault) *Error {
	e := &Error{Code: Code(f.Code), Command: command, Message: f.Message}
	switch e.Code {
	case NotFound, InvalidRequest, Internal, Timeout, ChannelDisconnected, DuplicateCommand:
	default:
		e.Code = Internal
	}
	return e
}

// fromContext is the error of a call whose ctx ended: a deadline is a Timeout,
// the caller's own cancellation comes back as it is.
func fromContext(ctx context.Context, command string) error {
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return &Error{Code: Timeout, Command: command, Message: command + ": deadline exceeded", Err: err}
	}
	return err
}

func notFound(command string) *Error {
	return &Error{Code: NotFound, Command: command, Message: "command not found: " + command}
}

func disconnected(command, channel string, cause error) *Error {
	return &Error{Code: ChannelDisconnected, Command: command, Message: fmt.Sprintf("channel %q is not connected", channel), Err: cause}
}

func closedError(command string) *Error {
	return &Error{Code: ChannelDisconnected, Command: command, Message: "registry is closed", Err: ErrClosed}
}

// panicError is a recovered panic of a handler. Its text stays on this side.
type panicError struct{ value any }

func (p *panicError) Error() string { return fmt.Sprintf("handler panicked: %v", p.value) }

// spellable is f as it may be sent on: a code that is not the protocol's is
// an internal error with the same text.
func spellable(f *bus.Fault) *bus.Fault {
	switch Code(f.Code) {
	case NotFound, InvalidRequest, Internal, Timeout, ChannelDisconnected:
		return f
	}
	return &bus.Fault{Code: string(Internal), Message: f.Message, Unrouted: f.Unrouted, Looped: f.Looped}
}
