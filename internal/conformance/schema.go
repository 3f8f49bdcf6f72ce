package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// schemas are the JSON Schemas of a directory, by file name. They refer to
// each other by file name or by $id; nothing is fetched.
type schemas struct {
	byName map[string]*jsonschema.Schema
	byID   map[string]*jsonschema.Schema
}

// schemaBase stands for the directory in the URIs of schemas without $id.
const schemaBase = "file:///schemas/"

// loadSchemas reads the directory, which may be missing.
func loadSchemas(dir fs.FS) (*schemas, error) {
	s := &schemas{byName: map[string]*jsonschema.Schema{}, byID: map[string]*jsonschema.Schema{}}
	err := fs.WalkDir(dir, "schemas", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".json" {
			return err
		}
		data, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		schema := &jsonschema.Schema{}
		if err := json.Unmarshal(data, schema); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.byName[strings.TrimPrefix(name, "schemas/")] = schema
		if schema.ID != "" {
			s.byID[schema.ID] = schema
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return s, err
}

// find returns the schema that a name, path or URI refers to.
func (s *schemas) find(ref string) *jsonschema.Schema {
	if found := s.byID[ref]; found != nil {
		return found
	}
	if found := s.byName[strings.TrimPrefix(ref, schemaBase)]; found != nil {
		return found
	}
	return s.byName[path.Base(ref)]
}

// validate checks a value against the schema of that name.
func (s *schemas) validate(name string, v any) (err error) {
	schema := s.find(name)
	if schema == nil {
		return fmt.Errorf("there is no schema %q", name)
	}
	defer func() { // what the library cannot make sense of, it panics on
		if p := recover(); p != nil {
			err = fmt.Errorf("schema %q: %v", name, p)
		}
	}()
	resolved, err := schema.CloneSchemas().Resolve(&jsonschema.ResolveOptions{
		BaseURI: schemaBase + path.Base(name),
		Loader: func(uri *url.URL) (*jsonschema.Schema, error) {
			if found := s.find(uri.String()); found != nil {
				return found.CloneSchemas(), nil
			}
			return nil, fmt.Errorf("there is no schema %q", uri)
		},
	})
	if err != nil {
		return fmt.Errorf("schema %q: %w", name, err)
	}
	return resolved.Validate(v)
}
