package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/leatbus/leat/bus"
)

// Code classifies a failure. It is what crosses the wire; the set is closed.
type Code string

// The codes. The first five are the protocol's.
const (
	NotFound            Code = "not_found"            // no registry on the way executes the command
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

	// ErrQueueFull is what a durable call fails with, beside the code Internal, where the queue of its command has no room: as many
	// requests wait there as the broker may keep. It was not executed and will not be.
	ErrQueueFull error = &Error{Reason: bus.ReasonQueueFull}

	// ErrClosed is returned by everything after Close; it comes with the code
	// ChannelDisconnected where it is an *Error.
	ErrClosed = bus.ErrClosed
)

// Error is how a command fails. A handler returns one to choose the code; see docs/reference/errors.md for which of several in an
// error chain counts, and for what becomes of other errors.
//
// Code, the text, Reason and Details cross the wire; Command and Err do not.
type Error struct {
	Code    Code
	Command string // the command, where known
	Message string // text for people, unprefixed, however many hops it made
	Err     error  // the cause, on the side where it arose; may be nil

	// Reason says more precisely what went wrong, in the application's own words for it: letters, digits, "-", "_" and ".",
	// at most 128. Details says it all, as JSON of at most 8 KiB. Both arrive at the caller, over any number of hops, as long as
	// each hop is leat; see [WithReason].
	Reason  string
	Details json.RawMessage

	of origin
}

// origin says where an *Error comes from.
type origin uint8

const (
	made    origin = iota // by user code, which chose it, or by leat in the name of a handler
	called                // a call or a registration that was made here failed with it
	expired               // a call ended with its context
)

// Errorf returns an *Error with the formatted text, which is sent to remote
// callers. %w sets the cause; of several, all are.
func Errorf(code Code, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	e := &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
	if _, several := err.(interface{ Unwrap() []error }); several {
		e.Err = err
	}
	return e
}

// Error returns Message, or the code and the command when there is none.
func (e *Error) Error() string {
	switch {
	case e == nil:
		return "nil *commands.Error"
	case e.Message != "":
		return e.Message
	case e.Command != "":
		return string(e.Code) + ": " + e.Command
	}
	return string(e.Code)
}

// Unwrap returns the cause. Where a local call has failed with e, the codes of *Errors in there, and a deadline, do not match any
// more, as they would not for a remote caller: they are those of other calls. Err has them.
func (e *Error) Unwrap() error {
	if e == nil {
		return nil
	}
	if e.of == called && (errors.As(e.Err, new(*Error)) || errors.Is(e.Err, context.DeadlineExceeded)) {
		return cause{e.Err}
	}
	return e.Err
}

// cause is why a local call has failed, without the codes in it.
type cause struct{ err error }

func (c cause) Error() string { return c.err.Error() }

func (c cause) Is(target error) bool {
	if _, coded := target.(*Error); coded || target == context.DeadlineExceeded {
		return false
	}
	return errors.Is(c.err, target)
}

func (c cause) As(target any) bool {
	if _, coded := target.(**Error); coded {
		return false
	}
	return errors.As(c.err, target)
}

// Is reports whether target is the sentinel of e's code, or an *Error with nothing but a Reason, or a Reason and a Code,
// which are e's.
func (e *Error) Is(target error) bool {
	if e == nil {
		return false
	}
	if target == context.DeadlineExceeded {
		return e.Code == Timeout
	}
	t, ok := target.(*Error)
	switch {
	case !ok || t == nil || t.Command != "" || t.Message != "" || t.Err != nil || t.Details != nil:
		return false
	case t.Code == "" && t.Reason == "":
		return false
	}
	return (t.Code == "" || t.Code.known() == e.Code.known()) && (t.Reason == "" || t.Reason == e.Reason)
}

// known returns c, or Internal if c is not one of the set.
func (c Code) known() Code {
	switch c {
	case NotFound, InvalidRequest, Internal, Timeout, ChannelDisconnected, DuplicateCommand:
		return c
	}
	return Internal
}

// ofReply returns c if a reply can say it, else Internal: DuplicateCommand answers registrations only.
func (c Code) ofReply() Code {
	if c == DuplicateCommand {
		return Internal
	}
	return c.known()
}

// CodeOf returns the code of an error that Execute, Register or another function of this package returned:
//
//   - that of the first *Error in its chain that has one; Internal if it is none of the constants;
//   - Timeout if the error is, or wraps, context.DeadlineExceeded;
//   - the empty code for nil;
//   - Internal for everything else, context.Canceled included.
//
// What a remote caller is told of a handler's error is another question: [FaultOf] answers it.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e) && e != nil && e.Code != "":
		return e.Code.known()
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	}
	return Internal
}

// received marks the error that a call, or a registration, ends with: a handler that returns it has not chosen it. To be
// deferred where such an error is returned to user code; the caller owns the *Error then.
func received(err *error) {
	if e, ok := (*err).(*Error); ok && e.of == made {
		e.of = called
	}
}

// fromContext is the error of a call whose ctx ended: a deadline is a Timeout,
// the caller's own cancellation comes back as it is.
func fromContext(ctx context.Context, command string) error {
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		return &Error{Code: Timeout, Command: command, Message: command + ": deadline exceeded", Err: err, of: expired}
	}
	return err
}

func notFound(command string) *Error {
	return &Error{Code: NotFound, Command: command, Message: "command not found: " + command}
}

func noReply(command string) *Error {
	return &Error{Code: Timeout, Command: command, Message: command + ": no reply in time"}
}

func disconnected(command, channel string, cause error) *Error {
	return &Error{Code: ChannelDisconnected, Command: command, Message: fmt.Sprintf("channel %q is not connected", channel), Err: cause}
}

func closedError(command string) *Error {
	return &Error{Code: ChannelDisconnected, Command: command, Message: "registry is closed", Err: ErrClosed}
}
