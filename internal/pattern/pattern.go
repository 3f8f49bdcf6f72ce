// Package pattern matches event IDs in NATS style.
package pattern

import (
	"errors"
	"fmt"
	"strings"
)

// Pattern matches event IDs: tokens separated by dots; "*" stands for exactly
// one token, ">" at the end for one or more. Immutable. Make one with [Parse].
type Pattern struct {
	text   string
	tokens []string // nil for a pattern without wildcards
}

// Parse reads a pattern, or says what is wrong with it.
func Parse(s string) (Pattern, error) {
	if s == "" {
		return Pattern{}, errors.New("empty pattern")
	}
	wild := false
	tokens := strings.Split(s, ".")
	for i, t := range tokens {
		switch {
		case t == "*":
			wild = true
		case t == ">" && i == len(tokens)-1:
			wild = true
		case t == "":
			return Pattern{}, fmt.Errorf("pattern %q: empty token", s)
		case strings.ContainsAny(t, "*>"):
			return Pattern{}, fmt.Errorf("pattern %q: %q must stand alone between dots, and > at the end", s, t)
		}
	}
	if !wild {
		return Pattern{text: s}, nil
	}
	return Pattern{text: s, tokens: tokens}, nil
}

// String returns what was parsed.
func (p *Pattern) String() string { return p.text }

// Wild reports whether there are wildcards: else only the ID that equals the
// pattern matches.
func (p *Pattern) Wild() bool { return p.tokens != nil }

// Match reports whether the event ID fits. It does not allocate.
func (p *Pattern) Match(id string) bool {
	if p.tokens == nil {
		return p.text == id
	}
	for i, t := range p.tokens {
		if t == ">" {
			return id != "" || i == 0
		}
		token, rest, more := strings.Cut(id, ".")
		if t != "*" && t != token || t == "*" && token == "" {
			return false
		}
		last := i == len(p.tokens)-1
		if last || !more {
			return last && !more
		}
		id = rest
	}
	return false
}
