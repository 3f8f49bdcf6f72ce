package payload

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// The library says where in the schema a value fails, not where in the value. Since errors are rare, the locator
// finds the field afterwards: it goes along the schema's path and, where that does not tell the element, tries each.

// maxDescents bounds the work on one error; below it, the path ends early.
const maxDescents = 64

// stepsPerPart is what it costs to resolve one schema of a document.
const stepsPerPart = 8

// wrapped is where a locator puts the schema, so that it can apply any part of it.
const (
	wrapped  = "/$defs/wrapped"
	wrapBase = "leat:wrapped"
)

type locator struct {
	*graph
	estimate *estimate
	path     string // of the value so far
	at       *node  // the part of the schema that is applied to it
	value    any
	failure  error
	whole    *jsonschema.Schema             // with an $id that references can name
	parts    map[*node]*jsonschema.Resolved // since recursive schemas come by again and again
}

// locate words the failure of a value as an *Error that names the field, as far as the steps last.
func (s *Schema) locate(value any, failure error, e *estimate) *Error {
	l := &locator{graph: s.graph, estimate: e, at: s.graph.root, value: value, failure: failure, parts: map[*node]*jsonschema.Resolved{}}
	for range maxDescents {
		if !l.descend() {
			break
		}
	}
	path, problem := problem(l.path, message(l.failure), l.value)
	return &Error{Path: path, Problem: problem, cause: failure}
}

// descend goes along the failure as far as it tells the elements by itself, and then tries. It reports whether there is
// a new failure to go along.
func (l *locator) descend() bool {
	for _, next := range l.trace() {
		rest, below := strings.CutPrefix(next.pointer, l.at.pointer+"/")
		if !below { // a reference
			l.at = next
			continue
		}
		keyword, token, _ := strings.Cut(rest, "/")
		switch keyword {
		case "properties":
			l.member(unescapeToken(token))
		case "items", "prefixItems":
			if token == "" {
				return l.try(next, nil)
			}
			l.element(token)
		case "patternProperties":
			for _, p := range l.at.patterns {
				if p.node == next {
					return l.try(next, p.Regexp)
				}
			}
			return false
		case "additionalItems", "unevaluatedItems", "additionalProperties", "unevaluatedProperties":
			return l.try(next, nil)
		case "propertyNames":
			return false
		}
		l.at = next
	}
	return l.alternative()
}

func (l *locator) member(name string) {
	members, _ := l.value.(jsonObject)
	l.path, l.value = appendName(l.path, name), members[name]
}

func (l *locator) element(index string) {
	elements, _ := l.value.(jsonArray)
	if i, err := strconv.Atoi(index); err == nil && i < len(elements) {
		l.path, l.value = appendIndex(l.path, i), elements[i]
	}
}

// try looks for the element of the value that the part of the schema at next refuses. A pattern restricts it to the
// members of matching names.
func (l *locator) try(next *node, pattern *regexp.Regexp) bool {
	refused := func(path string, v any) bool {
		err := l.apply(next, v)
		if err == nil || l.estimate.err != nil {
			return false
		}
		l.path, l.value, l.at, l.failure = path, v, next, err
		return true
	}
	switch v := l.value.(type) {
	case jsonArray:
		tupled := min(len(l.at.prefix), len(v))
		for i, element := range v[tupled:] {
			if refused(appendIndex(l.path, tupled+i), element) {
				return true
			}
		}
	case jsonObject:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if l.reaches(pattern, name) && refused(appendName(l.path, name), v[name]) {
				return true
			}
		}
	}
	return false
}

// reaches reports whether a member is one that the pattern, or without a pattern additionalProperties, applies to.
func (l *locator) reaches(pattern *regexp.Regexp, name string) bool {
	if pattern != nil {
		return pattern.MatchString(name)
	}
	if l.at.properties[name] != nil {
		return false
	}
	for _, p := range l.at.patterns {
		if p.MatchString(name) {
			return false
		}
	}
	return true
}

// alternative goes on in the alternative to null, which is how a pointer to a recursive type is described.
func (l *locator) alternative() bool {
	if l.value == nil || !strings.HasPrefix(message(l.failure), "anyOf: ") || len(l.at.anyOf) != 2 {
		return false
	}
	absent, present := l.at.anyOf[0], l.at.anyOf[1]
	if l.apply(absent, nil) != nil {
		return false
	}
	err := l.apply(present, l.value)
	if err == nil || l.estimate.err != nil {
		return false
	}
	l.at, l.failure = present, err
	return true
}

// apply applies a part of the schema by itself, if the steps last for it.
func (l *locator) apply(n *node, value any) error {
	part, ok := l.parts[n]
	if !ok {
		part = l.part(n)
		l.parts[n] = part
	}
	if part == nil {
		return nil
	}
	if err := l.estimate.of(n, value); err != nil {
		return err
	}
	return validate(part, value)
}

// part makes a part of the schema applicable by itself, or returns nil.
func (l *locator) part(n *node) *jsonschema.Resolved {
	if !l.estimate.spend(stepsPerPart * len(l.byPointer)) {
		return nil
	}
	if l.whole == nil {
		l.whole = l.root.CloneSchemas()
		l.whole.ID = cmp.Or(l.whole.ID, wrapBase)
	}
	reference := url.URL{Fragment: n.pointer}
	part, err := resolve(&jsonschema.Schema{
		Schema: l.whole.Schema,
		Ref:    l.whole.ID + reference.String(),
		Defs:   map[string]*jsonschema.Schema{"wrapped": l.whole},
	})
	if err != nil {
		return nil
	}
	return part
}

func unescapeToken(token string) string {
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
}

// trace lists the parts of the schema that the failure went through after l.at.
func (l *locator) trace() []*node {
	var list []*node
	for err := l.failure; ; {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		name, ok := strings.CutPrefix(err.Error(), "validating ")
		if !ok || len(name) < len(": ")+len(inner.Error()) {
			break
		}
		name = name[:len(name)-len(": ")-len(inner.Error())]
		if n := l.named(name); n != nil {
			list = append(list, n)
		}
		err = inner
	}
	return list[slices.Index(list, l.at)+1:] // What comes before l.at is the wrapping.
}

// named finds what the library's errors call by a name.
func (l *locator) named(name string) *node {
	if name == "root" || name == l.root.names || name == wrapBase {
		return l.root
	}
	if anchor, ok := strings.CutPrefix(name, "#"); ok {
		return l.anchors[anchor]
	}
	return l.byPointer[strings.TrimPrefix(name, wrapped)]
}

// message is the innermost text of a failure.
func message(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

var (
	wrongType = regexp.MustCompile(`(?s)^type: .* has type "(\w+)", want (?:one of )?"([\w, ]+)"$`)
	overBound = regexp.MustCompile(`^(?:exclusive)?(?:[mM]inimum|[mM]aximum): \S+ is ((?:less|greater) than(?: or equal to)?) (\S+)$`)
	firstName = regexp.MustCompile(`^(required: missing properties|unexpected additional properties):? \[`)
)

// problem words a message of the library.
func problem(path, text string, value any) (string, string) {
	if m := wrongType.FindStringSubmatch(text); m != nil {
		var types []string
		for _, t := range strings.Split(m[2], ", ") {
			if t != "null" || m[2] == "null" {
				types = append(types, t)
			}
		}
		return path, "expected " + strings.Join(types, " or ") + ", got " + described(m[1], value)
	}
	if m := firstName.FindStringSubmatchIndex(text); m != nil {
		if quoted, err := strconv.QuotedPrefix(text[m[1]:]); err == nil {
			name, _ := strconv.Unquote(quoted)
			if strings.HasPrefix(text, "required") {
				return appendName(path, name), problemMissing
			}
			return appendName(path, name), problemUnknown
		}
	}
	if m := overBound.FindStringSubmatch(text); m != nil {
		bound := m[2]
		if f, err := strconv.ParseFloat(bound, 64); err == nil {
			bound = strconv.FormatFloat(f, 'f', -1, 64)
		}
		return path, fmt.Sprintf("%v is %s %s", value, m[1], bound)
	}
	if keyword, rest, ok := strings.Cut(text, ": "); ok {
		if quoted, err := strconv.QuotedPrefix(rest); err == nil && len(quoted) > maxQuoted {
			text = keyword + ": the string" + rest[len(quoted):]
		}
	}
	if len(text) > 4*maxQuoted {
		text = strings.ToValidUTF8(text[:4*maxQuoted], "") + "..."
	}
	return path, text
}

// described names a JSON type, and a number that is short by its digits.
func described(typ string, value any) string {
	switch v := value.(type) {
	case float64:
		if typ == "number" {
			return fmt.Sprint(v)
		}
		return "number"
	case int64, uint64:
		return "number"
	}
	return typ
}
