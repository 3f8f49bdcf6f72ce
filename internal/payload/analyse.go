package payload

import (
	"encoding"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// signedMax is the last of the kinds of signed integers; the unsigned ones follow it.
const signedMax = reflect.Int64

// maxPointers bounds the pointers to pointers that are followed; types such as type P *P have no end of them.
const maxPointers = 16

// typeError says where in a type there is something that cannot be a payload.
type typeError struct {
	path string
	err  error
}

func (e *typeError) Error() string {
	if e.path == "" {
		return e.err.Error()
	}
	return "field " + e.path + ": " + e.err.Error()
}

func (e *typeError) Unwrap() error { return e.err }

// below puts a failure at the given path of an outer type.
func below(path string, err error) error {
	var inner *typeError
	if errors.As(err, &inner) {
		return &typeError{joinPaths(path, inner.path), inner.err}
	}
	return &typeError{path, err}
}

// analysis builds the shapes of one type and of all types in it.
type analysis struct {
	shapes map[reflect.Type]*shape
	quoted map[reflect.Type]*shape
	all    []*shape
	// numbers says that encoding/json.Number is in there, which the JSON library must be told about.
	numbers bool
	// free says that an any is in there, whose numbers the JSON library would make float64 of.
	free bool
	// lenient says that there is a struct that the JSON library refuses and encoding/json takes.
	lenient bool
	// stringified says that a field has the tag option string, or a map has integer keys.
	stringified bool
}

var (
	numberType = reflect.TypeFor[stdjson.Number]()
	rawType    = reflect.TypeFor[stdjson.RawMessage]()
)

// jsonMethods and textMethods are looked for on the type and on a pointer to it.
var (
	jsonMethods = []reflect.Type{
		reflect.TypeFor[json.MarshalerTo](), reflect.TypeFor[json.UnmarshalerFrom](),
		reflect.TypeFor[json.Marshaler](), reflect.TypeFor[json.Unmarshaler](),
	}
	textMethods = []reflect.Type{
		reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextAppender](),
		reflect.TypeFor[encoding.TextUnmarshaler](),
	}
)

func implementsAny(t reflect.Type, methods []reflect.Type) bool {
	for _, m := range methods {
		if t.Implements(m) || reflect.PointerTo(t).Implements(m) {
			return true
		}
	}
	return false
}

// leaf classifies the types whose JSON does not follow from what they are made of.
func leaf(t reflect.Type) (kind, bool) {
	switch t {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[slog.Level](),
		reflect.TypeFor[big.Float](), reflect.TypeFor[big.Rat]():
		return text, true
	case reflect.TypeFor[big.Int]():
		return integer, true
	case numberType:
		return number, true
	}
	switch {
	case t.Kind() == reflect.Interface || t.Kind() == reflect.Pointer:
		return 0, false // The library calls no methods of these but those of what they hold.
	case implementsAny(t, jsonMethods):
		return anyJSON, true
	case implementsAny(t, textMethods):
		return text, true
	}
	return 0, false
}

// use returns the shape that t uses, through any number of pointers.
func (a *analysis) use(t reflect.Type) (ref, error) {
	null := false
	for depth := 0; t.Kind() == reflect.Pointer; depth++ {
		if depth == maxPointers {
			return ref{}, fmt.Errorf("type %v has too many pointers, or points to itself", t)
		}
		null = true
		t = t.Elem()
	}
	if s := a.shapes[t]; s != nil {
		return ref{s, null}, nil
	}
	s := &shape{typ: t}
	a.shapes[t] = s // Before its parts, which may lead back to it.
	a.all = append(a.all, s)
	return ref{s, null}, a.fill(s)
}

func (a *analysis) fill(s *shape) error {
	t := s.typ
	if k, ok := leaf(t); ok {
		s.kind = k
		a.numbers = a.numbers || t == numberType
		return nil
	}
	var err error
	switch k := t.Kind(); k {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		s.kind = scalarKind(k)
	case reflect.Interface:
		if t.NumMethod() > 0 {
			return errors.New("type " + t.String() + " is an interface with methods, which nothing can be decoded into")
		}
		a.free = true
		s.kind = anyJSON
	case reflect.Slice, reflect.Array:
		s.null = k == reflect.Slice
		if s.null && t.Elem() == reflect.TypeFor[byte]() {
			s.kind = binary
			return nil
		}
		s.kind = list
		if s.elem, err = a.use(t.Elem()); err != nil {
			return below("[]", err)
		}
	case reflect.Map:
		s.kind = mapping
		if s.keys, err = mapKeys(t.Key()); err != nil {
			return err
		}
		a.stringified = a.stringified || s.keys != textKeys
		if s.elem, err = a.use(t.Elem()); err != nil {
			return below("[]", err)
		}
	case reflect.Struct:
		s.kind = object
		return a.fillStruct(s)
	default:
		return fmt.Errorf("type %v has no JSON form", t)
	}
	return nil
}

func scalarKind(k reflect.Kind) kind {
	switch k {
	case reflect.Bool:
		return boolean
	case reflect.String:
		return text
	case reflect.Float32, reflect.Float64:
		return number
	default:
		return integer
	}
}

func mapKeys(t reflect.Type) (keyKind, error) {
	switch k := t.Kind(); {
	case implementsAny(t, textMethods) && k != reflect.Interface:
		return textKeys, nil
	case implementsAny(t, jsonMethods) || k == reflect.Interface:
	case k == reflect.String:
		return textKeys, nil
	case k >= reflect.Int && k <= signedMax:
		return signedKeys, nil
	case k >= reflect.Uint && k <= reflect.Uintptr:
		return unsignedKeys, nil
	}
	return 0, fmt.Errorf("map key type %v is neither a string, nor an integer, nor has it text methods", t)
}

func (a *analysis) fillStruct(s *shape) error {
	list, err := members(s.typ)
	if err != nil {
		return err
	}
	s.byName = make(map[string]int, len(list))
	for _, m := range list {
		f, err := a.field(m)
		if err != nil {
			return below(m.sf.Name, err)
		}
		if f.required {
			s.required++
		}
		s.byName[f.name] = len(s.fields)
		s.fields = append(s.fields, f)
	}
	// The library has reasons of its own to refuse a struct, such as two fields of one name. Ask it now, not when
	// the first payload comes.
	err = json.Unmarshal([]byte("{}"), reflect.New(s.typ).Interface())
	if err != nil && tooStrict(err) {
		a.lenient = true
		return nil
	}
	var cause *json.SemanticError
	if errors.As(err, &cause) && cause.Err != nil {
		err = cause.Err
	}
	return err
}

// tooStrict reports whether the JSON library refuses a struct that encoding/json takes, and that members has understood: one whose
// fields are all unexported, or with an embedded one that is tagged omitempty. It does so for good reasons, and
// takes them if it is told to report errors as encoding/json does.
func tooStrict(err error) bool {
	var cause *json.SemanticError
	if !errors.As(err, &cause) || cause.Err == nil || cause.GoType == nil || cause.GoType.Kind() != reflect.Struct {
		return false
	}
	text := cause.Err.Error()
	return text == "Go struct has no exported fields" ||
		strings.HasPrefix(text, "Go struct field ") && strings.HasSuffix(text, "cannot have any options other than `inline` or `unknown` specified")
}

func (a *analysis) field(m member) (field, error) {
	f := field{name: m.tag.name, required: !m.tag.optional}
	if m.hidden {
		return f, errors.New("it is promoted through an embedded pointer to an unexported struct, and cannot be set")
	}
	var err error
	if f.ref, err = a.use(m.sf.Type); err != nil {
		return f, err
	}
	if m.tag.quoted {
		if f.ref, err = a.quote(m.sf.Type, f.ref); err != nil {
			return f, err
		}
	}
	f.description, err = description(m.sf)
	return f, err
}

// quote applies the tag option string where encoding/json does: to scalars and pointers to scalars.
func (a *analysis) quote(t reflect.Type, r ref) (ref, error) {
	if r.typ == numberType {
		return r, errors.New("json.Number with the tag option string is not supported")
	}
	if t.Kind() == reflect.Pointer && t.Name() == "" {
		t = t.Elem()
	}
	_, special := leaf(t)
	if special || t != r.typ {
		return r, nil
	}
	switch r.kind {
	case boolean, integer, number, text:
	default:
		return r, nil
	}
	a.stringified = true
	q := a.quoted[t]
	if q == nil {
		q = &shape{kind: quoted, typ: t, inner: r.kind, deep: true}
		a.quoted[t] = q
		a.all = append(a.all, q)
	}
	return ref{q, r.null}, nil
}

var keyword = regexp.MustCompile(`^[^ \t\n]*=`)

// description reads the jsonschema tag, by the rules of jsonschema-go.
func description(sf reflect.StructField) (string, error) {
	d, ok := sf.Tag.Lookup("jsonschema")
	switch {
	case ok && d == "":
		return "", errors.New("the jsonschema tag is empty")
	case keyword.MatchString(d):
		return "", fmt.Errorf("jsonschema tag %q: a description must not begin with WORD=", d)
	}
	return d, nil
}
