package payload

import (
	"math"
	"reflect"
	"unicode/utf8"
)

// asIs is what must be asked of a value before it may be handed over as it is, instead of encoding and decoding it:
// of a type whose values share no memory that can be changed, and come out of that as they went in.
type asIs struct {
	size    int     // bound of the JSON, without what strings hold
	strings [][]int // fields, by index, that are strings: they must be UTF-8
	floats  [][]int // fields that are floating point numbers: they must be finite
}

// Bounds of the JSON of one value. A byte of a string becomes six where it is escaped.
const (
	maxScalar   = 32
	maxEscape   = 6
	maxPlain    = 64   // fields
	maxPlainLen = 4096 // elements of arrays, in all
)

// plainOf describes t; nil if its values have to be encoded.
func plainOf(t reflect.Type) *asIs {
	p := &asIs{}
	if isVoid(t) || !p.add(t, nil) || len(p.strings)+len(p.floats) > maxPlain || p.size > maxPlainLen*maxScalar {
		return nil
	}
	return p
}

// add takes in a part of the type, which index leads to. False if that is not plain.
func (p *asIs) add(t reflect.Type, index []int) bool {
	if _, special := leaf(t); special {
		return false
	}
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		p.size += maxScalar
	case reflect.Float32, reflect.Float64:
		p.size += maxScalar
		p.floats = append(p.floats, index)
	case reflect.String:
		p.size += len(`""`)
		p.strings = append(p.strings, index)
	case reflect.Array:
		return p.addArray(t)
	case reflect.Struct:
		return p.addStruct(t, index)
	default:
		return false
	}
	return true
}

// addArray takes arrays of what needs no look at the value. Those of bytes are no arrays in JSON.
func (p *asIs) addArray(t reflect.Type) bool {
	if t.Elem().Kind() == reflect.Uint8 {
		return false
	}
	var elem asIs
	if !elem.add(t.Elem(), nil) || len(elem.strings)+len(elem.floats) > 0 || t.Len() > maxPlainLen {
		return false
	}
	p.size += len(`[]`) + t.Len()*(elem.size+len(`,`))
	return true
}

// addStruct takes structs all of whose fields travel.
func (p *asIs) addStruct(t reflect.Type, index []int) bool {
	p.size += len(`{}`)
	for i := range t.NumField() {
		sf := t.Field(i)
		tag, err := parseTag(sf)
		if err != nil || tag.skip || tag.quoted || !sf.IsExported() || sf.Anonymous || tag.optional && hasIsZero(sf.Type) {
			return false
		}
		p.size += maxEscape*len(tag.name) + len(`"":,`)
		if !p.add(sf.Type, append(index[:len(index):len(index)], i)) {
			return false
		}
	}
	return true
}

// hasIsZero reports whether values of the type say for themselves when they are zero, which is when omitzero leaves them
// out: they need not be.
func hasIsZero(t reflect.Type) bool {
	return implementsAny(t, []reflect.Type{reflect.TypeFor[interface{ IsZero() bool }]()})
}

// Plain reports whether the value that v, a pointer to the type, points to need not be encoded for a receiver that has the
// same type: it shares no memory that can be changed, it has a JSON form, and decoding that would give an equal value. Then
// size bounds the length of that form.
func (t *Type) Plain(v any) (size int, ok bool) {
	p := t.plain
	if p == nil {
		return 0, false
	}
	if len(p.strings)+len(p.floats) == 0 {
		return p.size, true
	}
	root := reflect.ValueOf(v).Elem()
	size = p.size
	for _, index := range p.strings {
		s := at(root, index).String()
		if !utf8.ValidString(s) {
			return 0, false
		}
		size += maxEscape * len(s)
	}
	for _, index := range p.floats {
		if f := at(root, index).Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return 0, false
		}
	}
	return size, true
}

func at(v reflect.Value, index []int) reflect.Value {
	for _, i := range index {
		v = v.Field(i)
	}
	return v
}
