package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/template"

	"github.com/leatbus/leat/bus"
	"github.com/leatbus/leat/commands"
	"github.com/leatbus/leat/pairing"
)

// plugin is one that is loaded: a registry of its own, and the host's half of
// the link to it.
type plugin struct {
	registry *commands.Registry
	link     *bus.Link
}

// load attaches a plugin to the host. When it returns, the host can call the
// plugin's commands; after an error nothing of the plugin is left.
func load(ctx context.Context, host *commands.Registry, m manifest) (*plugin, error) {
	registry, err := commands.NewRegistry(commands.Config{ID: m.Name, RouterChannel: host.ID()})
	if err != nil {
		return nil, err
	}
	toPlugin, toHost := pairing.InMemory(m.Name, host.ID())
	link, err := host.RegisterChannel(ctx, toPlugin)
	if err != nil {
		return nil, errors.Join(err, registry.Close())
	}
	if _, err := registry.RegisterChannel(ctx, toHost); err != nil {
		return nil, errors.Join(err, link.Close(), registry.Close())
	}
	p := &plugin{registry: registry, link: link}
	for _, c := range m.Commands {
		if err := p.add(ctx, c); err != nil {
			return nil, errors.Join(err, p.unload())
		}
	}
	return p, nil
}

// add advertises one more command. It returns when the host has acknowledged or
// refused it.
func (p *plugin) add(ctx context.Context, c command) error {
	t, err := template.New(c.ID).Option("missingkey=error").Parse(c.Template)
	if err != nil {
		return err
	}
	// leat has validated the request: it fits the schema.
	run := func(_ context.Context, request json.RawMessage) (json.RawMessage, error) {
		var fields any
		if err := json.Unmarshal(request, &fields); err != nil {
			return nil, err
		}
		var text strings.Builder
		if err := t.Execute(&text, fields); err != nil {
			return nil, err
		}
		return json.Marshal(text.String())
	}
	if err := p.registry.RegisterRaw(ctx, c.definition(), run); err != nil {
		return fmt.Errorf("register %s: %w", c.ID, err)
	}
	return nil
}

// unload ends the plugin, and waits until the host's half of the link has
// ended too. The host may as well close its link first.
func (p *plugin) unload() error {
	err := p.registry.Close()
	<-p.link.Done()
	return err
}
