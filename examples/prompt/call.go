package prompt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/leatbus/leat/commands"
)

const callHelp = `call                           pick a command, then answer for each field
call math.add                  answer for each field
call math.add {"a":7,"b":11}   all in one line
call 3 {"a":7,"b":11}          by its number in the list
call greet.hello "Ada"         the request is a string`

// call executes a command, wherever it is served.
func (s *session) call(ctx context.Context, arguments string) error {
	ref, text := cutWord(arguments)
	if ref == "" {
		var err error
		if ref, err = s.pick(ctx); err != nil {
			return err
		}
	}
	c := s.lookup(ref)
	if c == nil {
		return s.noCommand(ref, text)
	}
	request, err := s.request(c, text)
	if err != nil {
		return err
	}
	result, err := s.registry.ExecuteRaw(ctx, c.ID, request)
	if errors.Is(err, commands.ErrInvalidRequest) && c.Request != nil {
		return &hinted{err, "call " + c.ID + " " + example(readSchema(c.Request))}
	}
	if err != nil {
		return err
	}
	if result == nil {
		result = json.RawMessage("(no result)")
	}
	lines := strings.Split(string(result), "\n")
	for i, line := range lines {
		if s.out.terminal != nil {
			lines[i] = printable(line)
		}
	}
	_, err = fmt.Fprintln(s.out, strings.Join(lines, "\n"))
	return err
}

// pick asks for a command.
func (s *session) pick(ctx context.Context) (string, error) {
	if s.asks {
		if err := s.list(ctx, ""); err != nil {
			return "", err
		}
	}
	line, err := s.ask(question{prompt: "command (number or ID): ", complete: s.completeID})
	if err != nil {
		return "", s.unanswered(err, "the command's number or ID")
	}
	ref, rest := cutWord(line)
	if ref == "" || rest != "" {
		return "", problem("neither a number nor an ID: "+quoted(line), "list")
	}
	return ref, nil
}

func (s *session) noCommand(ref, text string) error {
	try := "list"
	if id := suggest(ref, s.ids()); id != "" {
		try = strings.TrimSpace("call " + id + " " + text)
	}
	return problem("no such command: "+quoted(ref), try)
}

// request makes the request of a text, or of answers.
func (s *session) request(c *commands.Info, text string) (json.RawMessage, error) {
	schema := readSchema(c.Request)
	switch {
	case text == "" && c.Request == nil:
		return nil, nil
	case text == "":
		return s.askRequest(schema)
	case only(schema, "string") && !strings.HasPrefix(text, `"`):
		return quote(text), nil
	}
	if err := checkJSON(text); err != nil {
		return nil, &hinted{err, "call " + c.ID + " " + example(schema)}
	}
	return json.RawMessage(text), nil
}

// checkJSON words what is wrong with a text as JSON.
func checkJSON(text string) error {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return fmt.Errorf("not JSON: %s (%w)", runewidth.Truncate(text, 60, "…"), err)
	}
	return nil
}
