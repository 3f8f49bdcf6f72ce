package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/leatbus/leat/commands"
)

const callHelp = `call                           pick a command, then answer for each field
call math.add                  answer for each field
call math.add {"a":7,"b":11}   all in one line
call 3 {"a":7,"b":11}          by its number in the list
call greet.hello "Ada"         the request is a string`

// call executes a command, from root, wherever it lives.
func (r *repl) call(ctx context.Context, arguments string) error {
	ref, text := cutWord(arguments)
	if ref == "" {
		var err error
		if ref, err = r.pick(ctx); err != nil {
			return err
		}
	}
	c := r.lookup(ref)
	if c == nil {
		return r.noCommand(ref, text)
	}
	request, err := r.request(ctx, c, text)
	if err != nil {
		return err
	}
	result, err := r.root.ExecuteRaw(ctx, c.ID, request)
	if errors.Is(err, commands.ErrInvalidRequest) && c.Request != nil {
		return &hinted{err, "call " + c.ID + " " + readSchema(c.Request).example()}
	}
	if err != nil {
		return err
	}
	if result == nil {
		result = json.RawMessage("(no result)")
	}
	_, err = fmt.Fprintf(r.console.out, "%s\n", result)
	return err
}

// pick asks for a command.
func (r *repl) pick(ctx context.Context) (string, error) {
	if r.console.asks {
		if err := r.list(ctx, ""); err != nil {
			return "", err
		}
	}
	line, err := r.ask(ctx, question{prompt: "command (number or ID): ", complete: r.completeID})
	if err != nil {
		return "", r.unanswered(err, "the command's number or ID")
	}
	ref, rest := cutWord(line)
	if ref == "" || rest != "" {
		return "", problem(fmt.Sprintf("neither a number nor an ID: %q", line), "list")
	}
	return ref, nil
}

func (r *repl) noCommand(ref, text string) error {
	err := fmt.Sprintf("no such command: %q", ref)
	if s := suggest(ref, r.ids()); s != "" {
		return problem(err, strings.TrimSpace("call "+s+" "+text))
	}
	return problem(err, "list")
}

// request makes the request of a text, or of answers.
func (r *repl) request(ctx context.Context, c *commands.Info, text string) (json.RawMessage, error) {
	s := readSchema(c.Request)
	switch {
	case text == "" && c.Request == nil:
		return nil, nil
	case text == "":
		return r.askRequest(ctx, s)
	case s.only("string") && !strings.HasPrefix(text, `"`):
		return json.RawMessage(quote(text)), nil
	}
	if err := checkJSON(text); err != nil {
		return nil, &hinted{err, "call " + c.ID + " " + s.example()}
	}
	return json.RawMessage(text), nil
}

// checkJSON words what is wrong with a text as JSON.
func checkJSON(text string) error {
	if _, err := readJSON(text); err != nil {
		return fmt.Errorf("not JSON: %s (%w)", text, err)
	}
	return nil
}

// readJSON returns the one value that the text is.
func readJSON(text string) (any, error) {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return nil, err
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	err := d.Decode(&value)
	return value, err
}
