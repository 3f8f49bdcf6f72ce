package conformance

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// fields reads the members of an object one by one. The first error sticks;
// what was not read in the end was not understood.
type fields struct {
	what string // names the object in errors
	rest map[string]any
	err  error
}

// readFields takes an object apart. Members that only describe are dropped.
func readFields(what string, v any) *fields {
	f := &fields{what: what}
	object, ok := v.(map[string]any)
	if !ok {
		f.fail("is not an object: %s", render(v))
		return f
	}
	f.rest = maps.Clone(object)
	delete(f.rest, "description")
	delete(f.rest, "$comment")
	return f
}

func (f *fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf("%s "+format, append([]any{f.what}, args...)...)
	}
}

// take returns a member and whether it is there.
func (f *fields) take(name string) (any, bool) {
	v, ok := f.rest[name]
	delete(f.rest, name)
	return v, ok
}

// value returns a member that may be missing.
func (f *fields) value(name string) any {
	if v, ok := f.take(name); ok {
		return v
	}
	return absent{}
}

// need returns a member that must be there.
func (f *fields) need(name string) any {
	v, ok := f.take(name)
	if !ok {
		f.fail("has no %q", name)
	}
	return v
}

// text returns a string, empty if it is missing or null.
func (f *fields) text(name string) string {
	v, ok := f.take(name)
	s, isText := v.(string)
	if ok && !isText && v != nil {
		f.fail("has %s for a string in %q", render(v), name)
	}
	return s
}

// needText returns a string that must be there and not be empty.
func (f *fields) needText(name string) string {
	s := f.text(name)
	if s == "" {
		f.fail("has no %q", name)
	}
	return s
}

// oneText returns the one string that is there under any of the names.
func (f *fields) oneText(names ...string) string {
	var found string
	for _, name := range names {
		if s := f.text(name); s != "" {
			if found != "" {
				f.fail("has more than one of %s", strings.Join(names, ", "))
			}
			found = s
		}
	}
	if found == "" {
		f.fail("has no %q", names[0])
	}
	return found
}

// oneValue returns the one member that is there under any of the names.
func (f *fields) oneValue(names ...string) any {
	var found any = absent{}
	for _, name := range names {
		if v, ok := f.take(name); ok {
			if found != (absent{}) {
				f.fail("has more than one of %s", strings.Join(names, ", "))
			}
			found = v
		}
	}
	return found
}

// list returns an array, nil if it is missing.
func (f *fields) list(name string) []any {
	v, ok := f.take(name)
	list, isList := v.([]any)
	if ok && !isList {
		f.fail("has %s for an array in %q", render(v), name)
	}
	return list
}

// end returns the first error, or that something was not understood.
func (f *fields) end() error {
	if f.err == nil && len(f.rest) > 0 {
		f.err = notUnderstood("%s: member %q", f.what, slices.Sorted(maps.Keys(f.rest))[0])
	}
	return f.err
}

var errNotUnderstood = errors.New("the runner does not understand")

func notUnderstood(format string, args ...any) error {
	return fmt.Errorf("%w "+format, append([]any{errNotUnderstood}, args...)...)
}
