package prompt

import "strings"

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
