package pattern

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// CheckID says what is wrong with an event ID: it is UTF-8, tokens separated by dots, none of them empty, none with a
// wildcard in it. It does not allocate for one that is right.
func CheckID(id string) error {
	if id == "" {
		return errors.New("empty event ID")
	}
	dot := true // the token is empty so far
	for i := range len(id) {
		switch c := id[i]; {
		case c == '.' && dot, c == '*', c == '>':
			return fmt.Errorf("event ID %q has an empty token or a wildcard", id)
		default:
			dot = c == '.'
		}
	}
	if dot {
		return fmt.Errorf("event ID %q has an empty token or a wildcard", id)
	}
	if !utf8.ValidString(id) {
		return fmt.Errorf("event ID %q is not UTF-8", id)
	}
	return nil
}
