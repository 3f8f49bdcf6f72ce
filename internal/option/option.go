// Package option checks the numbers in the options of the other packages.
package option

import "fmt"

// Number is a field of an options struct.
type Number struct {
	Field string
	Value int64
}

// NotNegative returns an error that names the first number that is negative, as a field of the struct.
func NotNegative(structName string, numbers ...Number) error {
	for _, n := range numbers {
		if n.Value < 0 {
			return fmt.Errorf("%s.%s is negative: %d", structName, n.Field, n.Value)
		}
	}
	return nil
}
