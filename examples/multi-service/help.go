package main

import (
	"context"
	"fmt"
	"strings"
)

func (r *repl) help(_ context.Context, word string) error {
	if word == "" {
		_, err := fmt.Fprint(r.console.out, r.overview())
		return err
	}
	v := r.verb(word)
	if v == nil {
		return problem(fmt.Sprintf("no help about %q", word), "help")
	}
	text := v.usage() + ": " + v.help + "\n"
	if v.more != "" {
		text += "  " + strings.ReplaceAll(v.more, "\n", "\n  ") + "\n"
	}
	_, err := fmt.Fprint(r.console.out, text)
	return err
}

func (r *repl) overview() string {
	var b strings.Builder
	for _, v := range r.verbs {
		b.WriteString(r.console.paint.bold(fmt.Sprintf("%-26s", v.usage())) + v.help + "\n")
	}
	b.WriteString(r.console.paint.dim("help call, help emit and help listen show examples") + "\n")
	return b.String()
}

func (v *verb) usage() string { return strings.TrimSpace(v.name + " " + v.arguments) }
