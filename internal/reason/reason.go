// Package reason holds what an application error may say beside its code and its text.
package reason

import (
	"fmt"

	"github.com/leatbus/leat/internal/payload"
)

// The bounds, in bytes.
const (
	MaxReason  = 128
	MaxDetails = 8 << 10
)

// Check returns what is wrong with a reason and details; both may be empty.
func Check(reason string, details []byte) error {
	if len(reason) > MaxReason {
		return fmt.Errorf("the reason of an error has %d bytes, the limit is %d", len(reason), MaxReason)
	}
	for _, c := range []byte(reason) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return fmt.Errorf("the reason of an error, %q, has characters other than letters, digits, '-', '_' and '.'", reason)
		}
	}
	if len(details) > MaxDetails {
		return fmt.Errorf("the details of an error have %d bytes, the limit is %d", len(details), MaxDetails)
	}
	if len(details) > 0 {
		if err := payload.Valid(details); err != nil {
			return fmt.Errorf("the details of an error are not JSON: %w", err)
		}
	}
	return nil
}
