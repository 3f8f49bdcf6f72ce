package prompt

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/mattn/go-runewidth"
)

// verb is the first word of a line.
type verb struct {
	name, arguments, help string
	more                  string // what help NAME says besides
	run                   func(ctx context.Context, arguments string) error
	complete              func(arguments string) []string // what they may become; may be nil
}

func (v *verb) usage() string { return strings.TrimSpace(v.name + " " + v.arguments) }

// parse returns the verb of a line and what follows it; nil for a line that says nothing.
func (s *session) parse(line string) (v *verb, arguments string, err error) {
	word, arguments := cutWord(line)
	switch word {
	case "exit":
		word = "quit"
	case "?":
		word = "help"
	}
	if word == "" || strings.HasPrefix(word, "#") {
		return nil, "", nil
	}
	v = s.verb(word)
	if v == nil {
		return nil, "", s.unknown(word, arguments)
	}
	if v.arguments == "" && arguments != "" {
		return nil, "", problem(fmt.Sprintf("%s takes nothing after it", v.name), v.name)
	}
	return v, arguments, nil
}

// cutWord returns the first word, and what follows it.
func cutWord(s string) (word, rest string) {
	s = strings.TrimSpace(s)
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		return s[:i], strings.TrimSpace(s[i:])
	}
	return s, ""
}

// verb returns the verb of that name, nil if there is none.
func (s *session) verb(name string) *verb {
	if i := slices.Index(s.verbNames(), name); i >= 0 {
		return &s.verbs[i]
	}
	return nil
}

func (s *session) verbNames() []string {
	names := make([]string, len(s.verbs))
	for i, v := range s.verbs {
		names[i] = v.name
	}
	return names
}

// unknown says what the line may have been meant to be.
func (s *session) unknown(word, arguments string) error {
	try := "help"
	if s.lookup(word) != nil {
		try = strings.TrimSpace("call " + word + " " + arguments)
	} else if v := suggest(word, s.verbNames()); v != "" {
		try = strings.TrimSpace(v + " " + arguments)
	}
	return problem("no such word: "+quoted(word), try)
}

// quoted returns as much of what was typed as an error should repeat.
func quoted(text string) string { return strconv.Quote(runewidth.Truncate(text, 60, "…")) }

// suggest returns the word that was probably meant, or "".
func suggest(word string, words []string) string {
	word = strings.ToLower(word)
	best, least := "", 3 // with more than two letters wrong, it is another word
	for _, w := range words {
		if len(word) > 1 && strings.HasPrefix(w, word) {
			return w
		}
		if d := levenshtein.ComputeDistance(word, w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	if best != "" {
		return best
	}
	for _, w := range words {
		if _, name, ok := strings.Cut(w, "."); ok && name == word {
			return w
		}
	}
	return ""
}

// complete returns what a line may become.
func (s *session) complete(line string) []string {
	line = strings.TrimLeft(line, " ")
	name, arguments, found := strings.Cut(line, " ")
	if !found {
		return s.completeVerb(line)
	}
	v := s.verb(name)
	if v == nil || v.complete == nil {
		return nil
	}
	options := v.complete(strings.TrimLeft(arguments, " "))
	for i := range options {
		options[i] = name + " " + options[i]
	}
	return options
}

func (s *session) completeVerb(start string) []string { return starting(start, s.verbNames()) }

func (s *session) completeID(start string) []string { return starting(start, s.ids()) }

// completeCall completes the ID, and then gives an example of a request.
func (s *session) completeCall(arguments string) []string {
	ref, text, found := strings.Cut(arguments, " ")
	if !found {
		return s.completeID(ref)
	}
	if c := s.lookup(ref); c != nil && c.Request != nil && strings.TrimSpace(text) == "" {
		return []string{ref + " " + example(readSchema(c.Request))}
	}
	return nil
}

// starting returns the words with that start, in an array of their own.
func starting(start string, words []string) []string {
	var fit []string
	for _, w := range words {
		if strings.HasPrefix(w, start) {
			fit = append(fit, w)
		}
	}
	return fit
}
