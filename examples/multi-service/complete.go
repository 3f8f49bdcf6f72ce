package main

import "strings"

// complete returns what a line may become.
func (r *repl) complete(line string) []string {
	line = strings.TrimLeft(line, " ")
	name, arguments, found := strings.Cut(line, " ")
	if !found {
		names := make([]string, len(r.verbs))
		for i, v := range r.verbs {
			names[i] = v.name
		}
		return starting(line, names)
	}
	v := r.verb(name)
	if v == nil || v.complete == nil {
		return nil
	}
	options := v.complete(strings.TrimLeft(arguments, " "))
	for i := range options {
		options[i] = name + " " + options[i]
	}
	return options
}

// completeCall completes the ID, and then gives an example of a request.
func (r *repl) completeCall(arguments string) []string {
	ref, text, found := strings.Cut(arguments, " ")
	if !found {
		return r.completeID(ref)
	}
	if c := r.lookup(ref); c != nil && c.Request != nil && strings.TrimSpace(text) == "" {
		return []string{ref + " " + readSchema(c.Request).example()}
	}
	return nil
}

func (r *repl) completeID(start string) []string { return starting(start, r.ids()) }

func (r *repl) completeHelp(start string) []string {
	names := make([]string, len(r.verbs))
	for i, v := range r.verbs {
		names[i] = v.name
	}
	return starting(start, names)
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
