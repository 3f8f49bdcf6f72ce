package prompt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/mattn/go-runewidth"
)

// askRequest asks for each field of the request, or for the whole where it has none.
func (s *session) askRequest(schema *jsonschema.Schema) (json.RawMessage, error) {
	names := fields(schema)
	if len(names) == 0 {
		return s.askValue("request", schema, true)
	}
	var members []string
	var wrong error // the first bad answer
	for _, name := range names {
		value, err := s.askValue(name, schema.Properties[name], slices.Contains(schema.Required, name))
		switch {
		case errors.As(err, new(badAnswer)):
			// Over a pipe the other answers follow all the same: read them, or they would be
			// taken for lines.
			if wrong == nil {
				wrong = err
			}
		case err != nil:
			return nil, err
		case value != nil:
			members = append(members, string(quote(name))+":"+string(value))
		}
	}
	return json.RawMessage("{" + strings.Join(members, ",") + "}"), wrong
}

// askValue asks until the answer fits, where the user can be asked again. A value that is optional
// and not given is nil.
func (s *session) askValue(name string, schema *jsonschema.Schema, required bool) (json.RawMessage, error) {
	note := describe(schema)
	if !required {
		note += ", optional"
	}
	for hint := "  (Ctrl-C cancels the call)"; ; hint = "" {
		line, err := s.ask(question{prompt: printable(fmt.Sprintf("%s (%s): ", name, note))})
		if err != nil {
			return nil, s.unanswered(err, name)
		}
		value, err := answer(name, schema, line, required)
		if err == nil || !s.asks {
			return value, err
		}
		fmt.Fprintln(s.err, s.err.red(printable(err.Error()))+s.err.dim(hint))
	}
}

// unanswered words the end of the input where an answer was due. At a terminal it is Ctrl-D, which
// gives up the question like Ctrl-C.
func (s *session) unanswered(err error, name string) error {
	switch {
	case !errors.Is(err, io.EOF):
		return err
	case s.asks:
		return errInterrupted
	}
	return fmt.Errorf("the input ended where %s was due", name)
}

// badAnswer says that an answer does not fit its field.
type badAnswer string

func (b badAnswer) Error() string { return string(b) }

// answer makes a value of what was typed for a field.
func answer(name string, schema *jsonschema.Schema, line string, required bool) (json.RawMessage, error) {
	trimmed := strings.TrimSpace(line)
	switch {
	case trimmed == "" && !required:
		return nil, nil
	case trimmed == "" && only(schema, "string"):
		return nil, badAnswer(name + ` is required; type "" for an empty text`)
	case trimmed == "":
		return nil, badAnswer(fmt.Sprintf("%s is required: %s, as in %s", name, describe(schema), example(schema)))
	case only(schema, "string") && !strings.HasPrefix(trimmed, `"`):
		return quote(line), nil
	case only(schema, "boolean"):
		trimmed = yesOrNo(trimmed)
	}
	if !fits(schema, trimmed) {
		return nil, badAnswer(fmt.Sprintf("%s: expected %s, as in %s; got %s", name, describe(schema), example(schema), runewidth.Truncate(trimmed, 60, "…")))
	}
	return json.RawMessage(trimmed), nil
}

func yesOrNo(word string) string {
	switch strings.ToLower(word) {
	case "y", "yes":
		return "true"
	case "n", "no":
		return "false"
	}
	return strings.ToLower(word)
}
