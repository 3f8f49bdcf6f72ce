package prompt

import (
	"strings"
	"unicode"
)

// painter colours text, if its stream is a terminal that wants colours.
type painter struct{ on bool }

func (p painter) bold(s string) string { return p.wrap("1", s) }
func (p painter) dim(s string) string  { return p.wrap("2", s) }
func (p painter) red(s string) string  { return p.wrap("31", s) }
func (p painter) cyan(s string) string { return p.wrap("36", s) }

func (p painter) wrap(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// printable makes text from a peer harmless to a terminal, and one line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, s)
}
