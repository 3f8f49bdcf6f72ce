package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// askRequest asks for each field of the request, or for the whole where it
// has none.
func (r *repl) askRequest(ctx context.Context, s schema) (json.RawMessage, error) {
	fields := s.fields()
	if len(fields) == 0 {
		return r.askValue(ctx, property{"request", s}, true)
	}
	var members []string
	var wrong error
	for _, f := range fields {
		value, err := r.askValue(ctx, f, s.requires(f.name))
		var bad *badAnswer
		switch {
		case errors.As(err, &bad):
			// Over a pipe the other answers follow all the same: read them,
			// or they would be taken for commands.
			if wrong == nil {
				wrong = err
			}
		case err != nil:
			return nil, err
		case value != nil:
			members = append(members, quote(f.name)+":"+string(value))
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	return json.RawMessage("{" + strings.Join(members, ",") + "}"), nil
}

// askValue asks until the answer fits, where somebody is there to be asked
// again. A value that is optional and not given is nil.
func (r *repl) askValue(ctx context.Context, p property, required bool) (json.RawMessage, error) {
	note := p.schema.String()
	if !required {
		note += ", optional"
	}
	for hint := "  (Ctrl-C gives the call up)"; ; hint = "" {
		line, err := r.ask(ctx, question{prompt: printable(fmt.Sprintf("%s (%s): ", p.name, note))})
		if err != nil {
			return nil, r.unanswered(err, p.name)
		}
		value, err := p.schema.answer(p.name, line, required)
		if err == nil || !r.console.asks {
			return value, err
		}
		fmt.Fprintln(r.console.err, r.console.errPaint.red(err.Error())+r.console.errPaint.dim(hint))
	}
}

// unanswered words the end of the input where an answer was due. At a
// terminal it is Ctrl-D, which gives up the question like Ctrl-C.
func (r *repl) unanswered(err error, name string) error {
	switch {
	case !errors.Is(err, io.EOF):
		return err
	case r.console.asks:
		return errInterrupted
	}
	return fmt.Errorf("the input ended where %s was due", name)
}

// badAnswer is an answer that does not fit its field.
type badAnswer struct{ text string }

func (b *badAnswer) Error() string { return b.text }

// answer makes a value of what was typed for a field.
func (s schema) answer(name, line string, required bool) (json.RawMessage, error) {
	trimmed := strings.TrimSpace(line)
	switch {
	case trimmed == "" && !required:
		return nil, nil
	case trimmed == "" && s.only("string"):
		return nil, &badAnswer{name + ` is required; type "" for an empty text`}
	case trimmed == "":
		return nil, &badAnswer{fmt.Sprintf("%s is required: %s, as in %s", name, s, s.example())}
	case s.only("string") && !strings.HasPrefix(trimmed, `"`):
		return json.RawMessage(quote(line)), nil
	case s.only("boolean"):
		trimmed = yesOrNo(trimmed)
	}
	if value, err := readJSON(trimmed); err != nil || !s.mayBe(value) {
		return nil, &badAnswer{fmt.Sprintf("%s: expected %s, as in %s; got %s", name, s, s.example(), trimmed)}
	}
	return json.RawMessage(trimmed), nil
}

func yesOrNo(word string) string {
	switch strings.ToLower(word) {
	case "y", "yes", "true":
		return "true"
	case "n", "no", "false":
		return "false"
	}
	return word
}

// mayBe looks at the type only: the rest is for whoever executes the command.
func (s schema) mayBe(value any) bool {
	if len(s.Types) == 0 {
		return true
	}
	for _, t := range s.Types {
		if isType(value, t) {
			return true
		}
	}
	return false
}

func isType(value any, typ string) bool {
	switch v := value.(type) {
	case nil:
		return typ == "null"
	case bool:
		return typ == "boolean"
	case string:
		return typ == "string"
	case json.Number: // 1.0 is an integer to a schema, but not to every reader
		return typ == "number" || typ == "integer" && !strings.ContainsAny(v.String(), ".eE")
	case []any:
		return typ == "array"
	case map[string]any:
		return typ == "object"
	}
	return false
}
