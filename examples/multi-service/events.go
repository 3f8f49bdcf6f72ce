package main

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

const listenHelp = `listen math.computed    this event: worker emits it after each calculation
listen user.*           * is one word between dots
listen >                > is one or more, at the end: all events`

func (r *repl) emit(ctx context.Context, arguments string) error {
	id, text := cutWord(arguments)
	var payload json.RawMessage
	if text != "" {
		if err := checkJSON(text); err != nil {
			return &hinted{err, "emit " + id + ` {"name":"Ada"}`}
		}
		payload = json.RawMessage(text)
	}
	const try = `emit user.created {"name":"Ada"}`
	if id == "" {
		return problem("emit needs the ID of an event", try)
	}
	hub := r.root.Events()
	if err := hub.EmitRaw(ctx, id, payload); err != nil {
		return &hinted{err, try}
	}
	// What is heard here is printed before the next line is read.
	if err := hub.Flush(ctx); err != nil {
		return err
	}
	_, err := fmt.Fprintf(r.console.out, "emitted %s\n", id)
	return err
}

func (r *repl) listen(_ context.Context, pattern string) error {
	switch {
	case pattern == "" && len(r.listening) > 0:
		_, err := fmt.Fprintf(r.console.out, "listening to %s\n", strings.Join(r.listening, ", "))
		return err
	case pattern == "":
		return problem("listen needs a pattern", "listen >")
	case slices.Contains(r.listening, pattern):
		_, err := fmt.Fprintf(r.console.out, "listening to %s already\n", pattern)
		return err
	}
	// The listener lives as long as the registry.
	_, err := r.root.Events().ListenRaw(pattern, func(_ context.Context, id string, payload json.RawMessage) {
		line := printable(strings.TrimSpace(id + " " + string(payload)))
		fmt.Fprintln(r.console.out, r.console.paint.cyan("event")+" "+line)
	})
	if err != nil {
		return &hinted{err, "listen >"}
	}
	r.listening = append(r.listening, pattern)
	_, err = fmt.Fprintf(r.console.out, "listening to %s\n", pattern)
	return err
}
