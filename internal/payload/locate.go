package payload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/leatbus/leat/internal/jsonschema"
)

// The library says where in the schema a value fails, not where in the value. Since errors are rare, the locator
// finds the field afterwards: it goes along the schema's path and, where that does not tell the element, tries each.

// maxDescents bounds the work on one error; below it, the path ends early.
const maxDescents = 64

type locator struct {
	document any
	schema   *jsonschema.Resolved
	budget   *jsonschema.Budget
	id       string // of the schema; or empty
	path     string // of the value so far
	at       string // JSON pointer to the part of the schema that is applied to it
	value    any
	failure  error
	parts    map[string]*jsonschema.Resolved // by pointer, since recursive schemas come by again and again
}

// locate words the failure of a value as an *Error that names the field, as far as the budget lasts.
func (s *Schema) locate(value any, failure error, budget *jsonschema.Budget) *Error {
	l := &locator{
		document: s.document, schema: s.resolved, budget: budget, id: s.id,
		value: value, failure: failure, parts: map[string]*jsonschema.Resolved{},
	}
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
		rest, below := strings.CutPrefix(next, l.at+"/")
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
				return l.try(next, "")
			}
			l.element(token)
		case "patternProperties":
			return l.try(next, unescapeToken(token))
		case "additionalItems", "unevaluatedItems", "additionalProperties", "unevaluatedProperties":
			return l.try(next, "")
		case "propertyNames":
			return false
		}
		l.at = next
	}
	return l.alternative()
}

func (l *locator) member(name string) {
	members, _ := l.value.(map[string]any)
	l.path, l.value = appendName(l.path, name), members[name]
}

func (l *locator) element(index string) {
	elements, _ := l.value.([]any)
	if i, err := strconv.Atoi(index); err == nil && i < len(elements) {
		l.path, l.value = appendIndex(l.path, i), elements[i]
	}
}

// try looks for the element of the value that the part of the schema at next refuses. A pattern restricts it to the
// members of matching names.
func (l *locator) try(next, pattern string) bool {
	part, ok := l.part(next)
	if !ok {
		return false
	}
	refused := func(path string, v any) bool {
		err := validate(part, v, l.budget)
		if err == nil || l.spent(err) {
			return false
		}
		l.path, l.value, l.at, l.failure = path, v, next, err
		return true
	}
	switch v := l.value.(type) {
	case []any:
		for i, element := range v[min(l.tupled(), len(v)):] {
			if refused(appendIndex(l.path, l.tupled()+i), element) {
				return true
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if l.reaches(pattern, name) && refused(appendName(l.path, name), v[name]) {
				return true
			}
		}
	}
	return false
}

// tupled counts the leading elements that have schemas of their own.
func (l *locator) tupled() int {
	for _, keyword := range []string{"/prefixItems", "/items"} {
		if list, ok := lookup(l.document, jsontext.Pointer(l.at+keyword)); ok {
			if list, ok := list.([]any); ok {
				return len(list)
			}
		}
	}
	return 0
}

// reaches reports whether a member is one that the pattern, or without a pattern additionalProperties, applies to.
func (l *locator) reaches(pattern, name string) bool {
	if pattern != "" {
		return matches(pattern, name)
	}
	if _, own := lookup(l.document, jsontext.Pointer(l.at+"/properties").AppendToken(name)); own {
		return false
	}
	patterns, _ := lookup(l.document, jsontext.Pointer(l.at+"/patternProperties"))
	byPattern, _ := patterns.(map[string]any)
	for pattern := range byPattern {
		if matches(pattern, name) {
			return false
		}
	}
	return true
}

func matches(pattern, name string) bool {
	re, err := regexp.Compile(pattern)
	return err == nil && re.MatchString(name)
}

// alternative goes on in the alternative to null, which is how a pointer to a recursive type is described.
func (l *locator) alternative() bool {
	if l.value == nil || !strings.HasPrefix(message(l.failure), "anyOf: ") {
		return false
	}
	either, _ := lookup(l.document, jsontext.Pointer(l.at+"/anyOf"))
	if list, ok := either.([]any); !ok || len(list) != 2 {
		return false
	}
	absent, ok1 := l.part(l.at + "/anyOf/0")
	present, ok2 := l.part(l.at + "/anyOf/1")
	if !ok1 || !ok2 || validate(absent, nil, l.budget) != nil {
		return false
	}
	err := validate(present, l.value, l.budget)
	if err == nil || l.spent(err) {
		return false
	}
	l.at += "/anyOf/1"
	l.failure = err
	return true
}

// spent reports whether a failure is the end of the budget, and says nothing about the value.
func (l *locator) spent(err error) bool {
	return errors.Is(err, jsonschema.ErrBudget) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// part makes the part of the schema at a JSON pointer applicable by itself.
func (l *locator) part(pointer string) (*jsonschema.Resolved, bool) {
	if r, ok := l.parts[pointer]; ok {
		return r, r != nil
	}
	r, err := l.schema.Part(pointer)
	if err != nil {
		r = nil
	}
	l.parts[pointer] = r
	return r, r != nil
}

func unescapeToken(token string) string {
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
}

// trace lists the parts of the schema that the failure went through after l.at, as JSON pointers.
func (l *locator) trace() []string {
	var list []string
	for err := l.failure; ; {
		inner := errors.Unwrap(err)
		if inner == nil {
			break
		}
		name, ok := strings.CutPrefix(strings.TrimSuffix(err.Error(), ": "+inner.Error()), "validating ")
		if !ok {
			break
		}
		if name == "root" || name == l.id {
			name = ""
		}
		list = append(list, name)
		err = inner
	}
	return list[slices.Index(list, l.at)+1:]
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
	if len(text) > 4*maxQuoted {
		text = text[:4*maxQuoted] + "..."
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
