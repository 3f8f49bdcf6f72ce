package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/leatbus/leat/bus"
)

// Wire is the form in which the messages of a run travel.
type Wire struct {
	// Name tells the run from the others.
	Name  string
	codec func(peer int) bus.Codec
}

// OverJSON puts the canonical message into the payload.
func OverJSON() Wire {
	return Wire{"json", func(int) bus.Codec { return bus.JSON }}
}

// OverBinary puts all but the body into metadata.
func OverBinary() Wire {
	return Wire{"binary", func(int) bus.Codec { return bus.Binary }}
}

// OverBoth gives every other peer of a script the other form, so that the
// registry translates between them.
func OverBoth() Wire {
	return Wire{"mixed", func(peer int) bus.Codec {
		if peer%2 == 0 {
			return bus.JSON
		}
		return bus.Binary
	}}
}

// Vector is one file. It is immutable and safe for concurrent use.
type Vector struct {
	// Name is the path in the vectors' directory, without extension.
	Name     string
	encoding *encoding
	script   *script
	err      error // why the file is not a vector
}

// Load reads the vectors in dir/encoding and dir/behavior and the directories
// in those, sorted by name, with the schemas in dir/schemas. A file that is not understood is a
// vector that fails. A directory without any vector is an error.
func Load(dir string) ([]Vector, error) {
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("vectors: %w", err)
	}
	root := os.DirFS(dir)
	known, err := loadSchemas(root)
	if err != nil {
		return nil, fmt.Errorf("vectors in %s: %w", dir, err)
	}
	var all []Vector
	for _, part := range []string{"encoding", "behavior"} {
		err := fs.WalkDir(root, part, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path.Ext(name) != ".json" {
				return err
			}
			v := Vector{Name: strings.TrimSuffix(name, ".json")}
			data, err := fs.ReadFile(root, name)
			switch {
			case err != nil:
				v.err = err
			case part == "encoding":
				v.encoding, v.err = parseEncoding(data, known)
			default:
				v.script, v.err = parseScript(data)
			}
			all = append(all, v)
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("vectors in %s: %w", dir, err)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("vectors: there are none in %s/encoding and %s/behavior", dir, dir)
	}
	return all, nil
}

// Run runs the vector, a script on a registry of its own, which is closed
// when Run returns. The error says what is wrong, and where.
func (v *Vector) Run(ctx context.Context, w Wire) error {
	switch {
	case v.err != nil:
		return v.err
	case v.encoding != nil:
		return v.encoding.run(w.codec(1))
	}
	s, err := newStage(ctx, v.script, w)
	if err == nil {
		err = s.play(v.script.steps)
	}
	return errors.Join(err, s.close())
}
