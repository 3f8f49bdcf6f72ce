package jsonschema

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// This file is not part of the original.

// ErrBudget says that a validation took more steps than it may.
var ErrBudget = errors.New("it takes too many steps to validate")

// Budget bounds the work of validations. It is for one goroutine.
//
// A step is a schema that is applied to a value: about half a microsecond. What costs more counts as several.
type Budget struct {
	ctx  context.Context
	left int
	look int // steps until ctx is looked at
}

// lookEach is how many steps go by between two looks at the context.
const lookEach = 1024

// NewBudget returns a budget of so many steps, which is over too when ctx ends.
func NewBudget(ctx context.Context, steps int) *Budget { return &Budget{ctx: ctx, left: steps} }

// over is what a budget that is over panics with.
type over struct{ err error }

func (b *Budget) spend(n int) {
	if b.left -= n; b.left < 0 {
		panic(over{ErrBudget})
	}
	if b.look -= n; b.look < 0 {
		b.look = lookEach
		if err := b.ctx.Err(); err != nil {
			panic(over{err})
		}
	}
}

// weigh spends a step for each part of a value that is about to be hashed.
func (b *Budget) weigh(v reflect.Value) {
	for v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	b.spend(1)
	switch v.Kind() {
	case reflect.String:
		b.spend(v.Len() / 64)
	case reflect.Slice:
		for i := range v.Len() {
			b.weigh(v.Index(i))
		}
	case reflect.Map:
		for _, e := range v.Seq2() {
			b.weigh(e)
		}
	}
}

// caught makes an error of a budget that is over. To be deferred.
func (b *Budget) caught(err *error) {
	switch v := recover().(type) {
	case nil:
	case over:
		*err = v.err
	default:
		panic(v)
	}
}

// maxBrief bounds what an error shows of a value, in bytes.
const maxBrief = 64

// brief is a value as an error shows it: an error is made for each alternative that does not fit.
func brief(v reflect.Value) string {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Invalid:
		return "null"
	case reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.String:
		return cut(v.String())
	}
	return fmt.Sprint(v)
}

func cut(s string) string {
	if len(s) <= maxBrief {
		return s
	}
	return strings.ToValidUTF8(s[:maxBrief], "") + "..."
}

// joined is the text of several errors, as far as it is short.
func joined(errs []error) string {
	var b strings.Builder
	for i, err := range errs {
		if b.Len() > 1024 {
			fmt.Fprintf(&b, "and %d more", len(errs)-i)
			break
		}
		text := err.Error()
		fmt.Fprintln(&b, text[:min(len(text), 512)])
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// Part returns what applies the schema at a JSON pointer, by itself.
func (rs *Resolved) Part(pointer string) (*Resolved, error) {
	s, err := dereferenceJSONPointer(rs.root, pointer)
	if err != nil {
		return nil, err
	}
	part := *rs
	part.root = s
	return &part, nil
}
