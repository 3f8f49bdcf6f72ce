package prompt

import (
	"context"
	"errors"
	"fmt"

	"github.com/leatbus/leat/commands"
)

// hinted is an error that says what to type next.
type hinted struct {
	error
	try string
}

func (h *hinted) Unwrap() error { return h.error }

func problem(text, try string) error { return &hinted{errors.New(text), try} }

// report tells the user that a line has failed.
func (s *session) report(line int, err error) {
	if errors.Is(err, errInterrupted) || s.asks && errors.Is(err, context.Canceled) {
		fmt.Fprintln(s.err, s.err.dim("cancelled"))
		return
	}
	where, text := "", printable(err.Error())
	if !s.asks {
		s.failed = true
		where = fmt.Sprintf("line %d: ", line)
	}
	if failure := (*commands.Error)(nil); errors.As(err, &failure) {
		text += " " + s.err.dim("("+string(failure.Code)+")")
	}
	text = s.err.red("error: ") + where + text + "\n"
	if h := (*hinted)(nil); errors.As(err, &h) {
		text += s.err.dim("  try: ") + printable(h.try) + "\n"
	}
	fmt.Fprint(s.err, text) // one write, or a listener may come between
}
