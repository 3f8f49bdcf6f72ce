package payload

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	v1 "github.com/go-json-experiment/json/v1"
)

// maxQuoted bounds the length of what an error quotes of a payload.
const maxQuoted = 64

func (t *Type) explain(err error) error { return explain(err, t.root) }

// explainLenient words an error for a type that is decoded with lenientOptions, where the library says little. The schema
// finds the same fault, and says more.
func (t *Type) explainLenient(data []byte, err error, p passes) error {
	if invalid := Valid(data); invalid != nil {
		return invalid
	}
	schema := t.schema
	if p.unknown {
		schema = t.open
	}
	if s, failed := CompileSchema(schema); failed == nil && !p.missing {
		if fault := s.Validate(context.Background(), data); fault != nil {
			return fault
		}
	}
	var mistaken *v1.UnmarshalTypeError
	if errors.As(err, &mistaken) {
		return &Error{Path: mistaken.Field, Problem: "unexpected " + mistaken.Value, cause: err}
	}
	return t.explain(err)
}

// explain words an error of the JSON library for a value that root describes; root.shape may be nil.
func explain(err error, root ref) *Error {
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &semantic):
		return explainSemantic(semantic, root)
	case errors.As(err, &syntactic):
		path, _ := follow(root, syntactic.JSONPointer)
		if errors.Is(syntactic.Err, jsontext.ErrDuplicateName) {
			return &Error{Path: path, Problem: "duplicate", cause: syntactic.Err}
		}
		if errors.Is(syntactic.Err, io.ErrUnexpectedEOF) {
			return &Error{Problem: "truncated JSON", cause: syntactic.Err}
		}
		problem := fmt.Sprintf("not well-formed JSON: %v, at byte %d", syntactic.Err, syntactic.ByteOffset)
		if strings.Contains(problem, "invalid UTF-8") {
			problem = "invalid UTF-8" // In a Go string, maybe, where an offset into the JSON says nothing.
		}
		return &Error{Path: path, Problem: problem, cause: syntactic.Err}
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Problem: "truncated JSON", cause: err}
	}
	return &Error{Problem: err.Error(), cause: err}
}

func explainSemantic(err *json.SemanticError, root ref) *Error {
	path, at := follow(root, err.JSONPointer)
	_, parent := follow(root, err.JSONPointer.Parent())
	e := &Error{Path: path, cause: err.Err}
	switch {
	case err.Err == json.ErrUnknownName:
		e.Problem = problemUnknown
		e.Hint = hint(parent, err.JSONPointer.LastToken())
	case isBadKey(err, parent):
		e.Problem = problemKey
	default:
		e.Problem = semanticProblem(err, at)
	}
	return e
}

// isBadKey reports whether the decoder stumbled over the name of a member of a map with integer keys, not its value.
func isBadKey(err *json.SemanticError, parent ref) bool {
	return parent.shape != nil && parent.kind == mapping && parent.keys != textKeys && err.JSONKind == '"' &&
		(errors.Is(err.Err, strconv.ErrSyntax) || errors.Is(err.Err, strconv.ErrRange))
}

// semanticProblem words what is wrong with the value that at describes; at.shape may be nil.
func semanticProblem(err *json.SemanticError, at ref) string {
	expected := ""
	if at.shape != nil && at.kind != anyJSON {
		expected = at.expected()
	}
	got := word(err.JSONKind)
	switch {
	case errors.Is(err.Err, strconv.ErrRange):
		return brief(err.JSONValue) + "is out of range"
	case errors.Is(err.Err, strconv.ErrSyntax) && expected != "":
		return "expected " + expected + ", got " + strings.TrimSpace(brief(err.JSONValue))
	case expected != "" && got != "" && !takes(at.shape, err.JSONKind):
		return "expected " + expected + ", got " + got
	case at.shape != nil && at.kind == list && at.typ.Kind() == reflect.Array:
		return "expected " + expected + ", got one of another length"
	case at.shape != nil && at.kind == quoted:
		return "expected " + expected
	case err.Err != nil:
		return err.Err.Error()
	case got != "":
		return "unexpected " + got
	}
	return "a value that JSON cannot hold"
}

// takes reports whether a value of kind k is the right one at least as JSON goes, so that something else is wrong with it.
func takes(s *shape, k jsontext.Kind) bool {
	switch s.kind {
	case boolean:
		return k == 't' || k == 'f'
	case integer, number:
		return k == '0'
	case list:
		return k == '[' || k == ']'
	case mapping, object:
		return k == '{' || k == '}'
	default:
		return k == '"'
	}
}

func word(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "boolean"
	case '"':
		return "string"
	case '0':
		return "number"
	case '{', '}':
		return "object"
	case '[', ']':
		return "array"
	}
	return ""
}

// brief quotes a value if it is short enough to be read.
func brief(v jsontext.Value) string {
	if len(v) == 0 || len(v) > maxQuoted {
		return "the number "
	}
	return string(v) + " "
}

// hint names the field that was probably meant, if it differs in case only.
func hint(at ref, name string) string {
	if at.shape == nil {
		return ""
	}
	for _, f := range at.fields {
		if strings.EqualFold(f.name, name) {
			return "did you mean " + strconv.Quote(f.name) + "?"
		}
	}
	return ""
}

// follow turns a JSON pointer into a path, and returns the use of a shape that it leads to. Below what has no shape,
// a number is taken for an index.
func follow(root ref, pointer jsontext.Pointer) (string, ref) {
	path, at := "", root
	for token := range pointer.Tokens() {
		index, err := strconv.Atoi(token)
		isIndex := err == nil && index >= 0
		var next ref
		if at.shape != nil {
			switch at.kind {
			case list:
				next = at.elem
			case mapping:
				next, isIndex = at.elem, false
			case object:
				isIndex = false
				if i, ok := at.byName[token]; ok {
					next = at.fields[i].ref
				}
			}
		}
		if isIndex {
			path = appendIndex(path, index)
		} else {
			path = appendName(path, token)
		}
		at = next
	}
	return path, at
}
