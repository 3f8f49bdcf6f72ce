package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/leatbus/leat/commands"
)

// story loads, calls and unloads a plugin, and tells w.
func story(ctx context.Context, w io.Writer) error {
	host, err := commands.NewRegistry(commands.Config{ID: "host"})
	if err != nil {
		return err
	}
	defer host.Close()
	t := &teller{host: host, w: w}
	t.list("host starts")

	letters, err := parseManifest(lettersManifest)
	if err != nil {
		return err
	}
	p, err := load(ctx, host, letters)
	if err != nil {
		return err
	}
	t.list("letters loaded")
	t.call(ctx, "letters.salute", `{"name":"Ada"}`)
	t.call(ctx, "letters.sign", `{"name":"Grace","formal":false}`)
	t.call(ctx, "letters.sign", `{"name":"Grace","formal":"very"}`)

	// Another plugin cannot take what is there.
	if err := refused(ctx, host); err != nil {
		return err
	}
	t.list("impostor refused")

	// A plugin can advertise more while it runs.
	late, err := parseManifest(lateCommand)
	if err != nil {
		return err
	}
	if err := p.add(ctx, late.Commands[0]); err != nil {
		return err
	}
	t.list("letters.thank added")
	t.call(ctx, "letters.thank", `"flowers"`)

	if err := p.unload(); err != nil {
		return err
	}
	t.list("letters unloaded")
	t.call(ctx, "letters.salute", `{"name":"Ada"}`)
	return nil
}

// refused loads a plugin whose command is taken, which has to fail.
func refused(ctx context.Context, host *commands.Registry) error {
	impostor, err := parseManifest(lettersManifest)
	if err != nil {
		return err
	}
	impostor.Name = "impostor"
	_, err = load(ctx, host, impostor)
	if !errors.Is(err, commands.ErrDuplicateCommand) {
		return fmt.Errorf("a second plugin with the same commands was not refused: %v", err)
	}
	return nil
}

// teller writes what the host sees.
type teller struct {
	host *commands.Registry
	w    io.Writer
}

func (t *teller) list(event string) {
	ids := make([]string, 0, 3)
	for _, c := range t.host.Commands() {
		ids = append(ids, c.ID)
	}
	if len(ids) == 0 {
		ids = append(ids, "none")
	}
	fmt.Fprintf(t.w, "%s; commands: %s\n", event, strings.Join(ids, ", "))
}

func (t *teller) call(ctx context.Context, id, request string) {
	result, err := t.host.ExecuteRaw(ctx, id, json.RawMessage(request))
	if err != nil {
		fmt.Fprintf(t.w, "  %s %s fails: %s: %v\n", id, request, commands.CodeOf(err), err)
		return
	}
	fmt.Fprintf(t.w, "  %s %s = %s\n", id, request, result)
}
