package prompt

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

const emitHelp = `emit user.created                   no payload
emit user.created {"name":"Ada"}    any JSON
An event goes to every listener, in every registry.`

const listenHelp = `listen user.created    this event
listen user.*          * is one word between dots
listen >               > is one or more, at the end: all events`

func (s *session) emit(ctx context.Context, arguments string) error {
	const try = `emit user.created {"name":"Ada"}`
	id, text := cutWord(arguments)
	if id == "" {
		return problem("emit needs the ID of an event", try)
	}
	var payload json.RawMessage
	if text != "" {
		if err := checkJSON(text); err != nil {
			return &hinted{err, "emit " + id + ` {"name":"Ada"}`}
		}
		payload = json.RawMessage(text)
	}
	hub := s.registry.Events()
	if err := hub.EmitRaw(ctx, id, payload); err != nil {
		return &hinted{err, try}
	}
	// What is heard here is printed before the next line is read.
	if err := hub.Flush(ctx); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "emitted %s\n", id)
	return err
}

func (s *session) listen(_ context.Context, pattern string) error {
	switch {
	case pattern == "" && len(s.patterns) > 0:
		_, err := fmt.Fprintf(s.out, "listening to %s\n", strings.Join(s.patterns, ", "))
		return err
	case pattern == "":
		return problem("listen needs a pattern", "listen >")
	case slices.Contains(s.patterns, pattern):
		_, err := fmt.Fprintf(s.out, "already listening to %s\n", pattern)
		return err
	}
	l, err := s.registry.Events().ListenRaw(pattern, func(_ context.Context, id string, payload json.RawMessage) {
		fmt.Fprintln(s.out, s.out.cyan("event")+" "+printable(strings.TrimSpace(id+" "+string(payload))))
	})
	if err != nil {
		return &hinted{err, "listen >"}
	}
	s.listeners, s.patterns = append(s.listeners, l), append(s.patterns, pattern)
	_, err = fmt.Fprintf(s.out, "listening to %s\n", pattern)
	return err
}
