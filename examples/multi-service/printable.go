package main

import (
	"strings"
	"unicode"
)

// printable makes text that came from elsewhere harmless to a terminal, and
// one line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}
