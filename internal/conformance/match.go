package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// bindings are the values that a script has captured, by name.
type bindings map[string]any

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// schemaWords are the names with a dollar that are data: commands carry JSON
// Schemas. All others are the vectors' own, to be understood or refused.
var schemaWords = []string{"$schema", "$id", "$defs", "$anchor", "$comment", "$vocabulary",
	"$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor"}

// matcherOf returns the matcher that an object is, with its name, or "" if it
// is plain data.
func matcherOf(object map[string]any) (string, error) {
	var own []string
	for name := range object {
		if strings.HasPrefix(name, "$") && !slices.Contains(schemaWords, name) {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	switch name := strings.Join(own, "+"); {
	case name == "":
		return "", nil
	case name == "$ref" && (len(object) > 1 || pointsIntoSchema(object["$ref"])):
		return "", nil // of a JSON Schema
	case len(own) < len(object):
		return "", notUnderstood("a matcher with other members: %s", render(object))
	case slices.Contains([]string{"$match", "$capture", "$capture+$match", "$ref", "$unordered"}, name):
		return name, nil
	}
	return "", notUnderstood("the matcher %s", render(object))
}

// pointsIntoSchema tells the $ref of a JSON Schema, which is an URI, from the
// name of something captured.
func pointsIntoSchema(ref any) bool {
	s, ok := ref.(string)
	return ok && strings.ContainsAny(s, "#/")
}

// match compares got with what is expected of it, and notes what is captured
// on the way. The error says where they differ; after one, b may hold part of
// the captures.
func match(want, got any, b bindings) error { return matchAt("", want, got, b) }

func matchAt(path string, want, got any, b bindings) error {
	switch want := want.(type) {
	case map[string]any:
		name, err := matcherOf(want)
		switch {
		case err != nil:
			return err
		case name != "":
			return matchSpecial(path, name, want, got, b)
		}
		return matchObject(path, want, got, b)
	case []any:
		return matchArray(path, want, got, b)
	}
	return same(path, want, got)
}

func same(path string, want, got any) error {
	if sameValue(want, got) {
		return nil
	}
	return differs(path, render(want), got)
}

func differs(path, want string, got any) error {
	if path == "" {
		path = "value"
	}
	return fmt.Errorf("%s: want %s, got %s", strings.TrimPrefix(path, "."), want, render(got))
}

func matchObject(path string, want map[string]any, got any, b bindings) error {
	object, ok := got.(map[string]any)
	if !ok {
		return differs(path, "an object", got)
	}
	for _, name := range capturesFirst(want) {
		v, ok := object[name]
		if !ok {
			v = absent{}
		}
		if err := matchAt(path+"."+name, want[name], v, b); err != nil {
			return err
		}
	}
	return nil
}

// capturesFirst returns the names of an object in an order in which a $ref
// finds what its neighbours capture.
func capturesFirst(object map[string]any) []string {
	names := slices.Sorted(maps.Keys(object))
	slices.SortStableFunc(names, func(a, b string) int { return refs(object[a]) - refs(object[b]) })
	return names
}

func refs(v any) int {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["$ref"]; ok {
			return 1
		}
		return refs(slices.Collect(maps.Values(v)))
	case []any:
		for _, e := range v {
			if refs(e) > 0 {
				return 1
			}
		}
	}
	return 0
}

func matchArray(path string, want []any, got any, b bindings) error {
	array, ok := got.([]any)
	if !ok || len(array) != len(want) {
		return differs(path, fmt.Sprintf("an array of %d", len(want)), got)
	}
	for i, w := range want {
		if err := matchAt(path+"["+strconv.Itoa(i)+"]", w, array[i], b); err != nil {
			return err
		}
	}
	return nil
}

func matchSpecial(path, name string, want map[string]any, got any, b bindings) error {
	if kind, ok := want["$match"]; ok {
		if err := matchKind(path, kind, got); err != nil {
			return err
		}
	}
	switch name {
	case "$capture", "$capture+$match":
		key, ok := want["$capture"].(string)
		if !ok || key == "" {
			return notUnderstood("the matcher %s", render(want))
		}
		if got == (absent{}) {
			return differs(path, "something to capture as "+key, got)
		}
		b[key] = got
	case "$ref":
		v, err := b.lookup(want["$ref"])
		if err != nil {
			return err
		}
		return same(path, v, got)
	case "$unordered":
		list, ok := want["$unordered"].([]any)
		if !ok {
			return notUnderstood("the matcher %s", render(want))
		}
		return matchUnordered(path, list, got, b)
	}
	return nil
}

func matchKind(path string, kind, got any) error {
	s, isText := got.(string)
	var ok bool
	switch kind {
	case "uuid":
		ok = isText && uuidForm.MatchString(s)
	case "any-string":
		ok = isText
	case "absent":
		ok = got == (absent{})
	default:
		return notUnderstood("the matcher %s", render(map[string]any{"$match": kind}))
	}
	if !ok {
		return differs(path, fmt.Sprint(kind), got)
	}
	return nil
}

// lookup returns what was captured under a name.
func (b bindings) lookup(ref any) (any, error) {
	name, ok := ref.(string)
	if !ok {
		return nil, notUnderstood("the reference %s", render(ref))
	}
	v, ok := b[name]
	if !ok {
		return nil, fmt.Errorf("the script refers to %q, which it has not captured", name)
	}
	return v, nil
}

// matchUnordered pairs each expected element with one of the array. It goes
// back where an earlier choice leaves a later element without a partner.
func matchUnordered(path string, want []any, got any, b bindings) error {
	array, ok := got.([]any)
	if !ok || len(array) != len(want) {
		return differs(path, fmt.Sprintf("an array of %d, in any order", len(want)), got)
	}
	used := make([]bool, len(array))
	var unknown error // no mismatch: the vector itself is at fault
	var pair func(i int, b bindings) (bindings, bool)
	pair = func(i int, b bindings) (bindings, bool) {
		if i == len(want) {
			return b, true
		}
		for j := range array {
			if used[j] {
				continue
			}
			attempt := maps.Clone(b)
			if err := matchAt(path+"["+strconv.Itoa(i)+"]", want[i], array[j], attempt); err != nil {
				if errors.Is(err, errNotUnderstood) {
					unknown = err
				}
				continue
			}
			used[j] = true
			if all, ok := pair(i+1, attempt); ok {
				return all, true
			}
			used[j] = false
		}
		return nil, false
	}
	all, ok := pair(0, b)
	switch {
	case unknown != nil:
		return unknown
	case !ok:
		return differs(path, "in any order "+render(want), got)
	}
	maps.Copy(b, all)
	return nil
}

// substitute puts what was captured into a value that is going to be sent.
func substitute(v any, b bindings) (any, error) {
	switch v := v.(type) {
	case map[string]any:
		name, err := matcherOf(v)
		switch {
		case err != nil:
			return nil, err
		case name == "$ref":
			return b.lookup(v["$ref"])
		case name != "":
			return nil, notUnderstood("a matcher in what is to be sent: %s", render(v))
		}
		out := make(map[string]any, len(v))
		for name, e := range v {
			if out[name], err = substitute(e, b); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			var err error
			if out[i], err = substitute(e, b); err != nil {
				return nil, err
			}
		}
		return out, nil
	case json.Number, string, bool, nil, absent:
		return v, nil
	}
	return nil, fmt.Errorf("not a JSON value: %T", v)
}
