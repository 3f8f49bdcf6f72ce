package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/leatbus/leat/commands"
)

// hinted is an error that says what to type next.
type hinted struct {
	err error
	try string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

func problem(text, try string) error { return &hinted{errors.New(text), try} }

// report tells the user that a line has failed.
func (r *repl) report(line int, err error) {
	paint := r.console.errPaint
	if errors.Is(err, errInterrupted) || r.console.asks && errors.Is(err, context.Canceled) {
		fmt.Fprintln(r.console.err, paint.dim("given up"))
		return
	}
	r.failed = true
	where, text := "", printable(err.Error())
	if !r.console.asks {
		where = fmt.Sprintf("line %d: ", line)
	}
	var failure *commands.Error
	if errors.As(err, &failure) {
		text += " " + paint.dim("("+string(failure.Code)+")")
	}
	text = paint.red("error: ") + where + text + "\n"
	var h *hinted
	if errors.As(err, &h) {
		text += paint.dim("  try: ") + printable(h.try) + "\n"
	}
	fmt.Fprint(r.console.err, text) // one write, or a listener may come between
}
