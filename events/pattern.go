package events

import (
	"fmt"
	"strings"
)

// pattern matches event IDs in NATS style: tokens separated by dots; "*"
// stands for exactly one token, ">" at the end for one or more.
type pattern struct {
	text   string
	tokens []string // nil for a pattern without wildcards
}

func parsePattern(s string) (pattern, error) {
	if s == "" {
		return pattern{}, fmt.Errorf("events: empty pattern")
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
			return pattern{}, fmt.Errorf("events: pattern %q: empty token", s)
		case strings.ContainsAny(t, "*>"):
			return pattern{}, fmt.Errorf("events: pattern %q: %q must stand alone between dots, and > at the end", s, t)
		}
	}
	if !wild {
		return pattern{text: s}, nil
	}
	return pattern{text: s, tokens: tokens}, nil
}

// match reports whether the event ID fits. It does not allocate.
func (p *pattern) match(id string) bool {
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
