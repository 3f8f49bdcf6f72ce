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

// story loads, calls and unloads a plugin, and writes to w what the host sees.
func story(ctx context.Context, w io.Writer) error {
	host, err := commands.NewRegistry(commands.Config{ID: "host"})
	if err != nil {
		return err
	}
	defer host.Close()
	v := &view{host: host, w: w}
	v.list("host starts")

	letters, err := parseManifest(lettersManifest)
	if err != nil {
		return err
	}
	p, err := load(ctx, host, letters)
	if err != nil {
		return err
	}
	v.list("letters loaded")
	v.call(ctx, "letters.salute", `{"name":"Ada"}`)
	v.call(ctx, "letters.sign", `{"name":"Grace","formal":false}`)
	v.call(ctx, "letters.sign", `{"name":"Grace","formal":"very"}`)

	// Another plugin cannot register the same commands.
	if err := refused(ctx, host); err != nil {
		return err
	}
	v.list("impostor refused")

	// A plugin can advertise more while it runs.
	late, err := parseManifest(lateCommand)
	if err != nil {
		return err
	}
	if err := p.add(ctx, late.Commands[0]); err != nil {
		return err
	}
	v.list("letters.thank added")
	v.call(ctx, "letters.thank", `"flowers"`)

	if err := p.unload(); err != nil {
		return err
	}
	v.list("letters unloaded")
	v.call(ctx, "letters.salute", `{"name":"Ada"}`)
	return nil
}

// refused loads a plugin whose commands are registered already, which has to fail.
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

// view writes what the host sees.
type view struct {
	host *commands.Registry
	w    io.Writer
}

func (v *view) list(event string) {
	ids := make([]string, 0, 3)
	for _, c := range v.host.Commands() {
		ids = append(ids, c.ID)
	}
	if len(ids) == 0 {
		ids = append(ids, "none")
	}
	fmt.Fprintf(v.w, "%s; commands: %s\n", event, strings.Join(ids, ", "))
}

func (v *view) call(ctx context.Context, id, request string) {
	result, err := v.host.ExecuteRaw(ctx, id, json.RawMessage(request))
	if err != nil {
		fmt.Fprintf(v.w, "  %s %s fails: %s: %v\n", id, request, commands.CodeOf(err), err)
		return
	}
	fmt.Fprintf(v.w, "  %s %s = %s\n", id, request, result)
}
