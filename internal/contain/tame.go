package contain

import (
	"context"
	"errors"
)

// Tame returns err if its own methods can be asked, else an error in its place whose methods can. An error of a user's
// type is asked for its text, and what it is, in many places, and some of them are in no position to survive it.
func Tame(err error) error {
	if err == nil {
		return nil
	}
	if broken := Do(func() {
		_ = err.Error()
		_ = errors.Is(err, context.Canceled)
		var as *Panic
		_ = errors.As(err, &as)
	}); broken != nil {
		return errors.New("error without a text: its own Error method panics")
	}
	return err
}
