package payload

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// member is a struct field, own or promoted, that is a member of the JSON object.
type member struct {
	sf     reflect.StructField
	index  []int
	tag    tag
	hidden bool // promoted through an embedded pointer to an unexported struct, which cannot be set
}

// tag is a parsed json tag.
type tag struct {
	name     string
	named    bool // the name is in the tag
	skip     bool
	optional bool // omitempty or omitzero
	quoted   bool
}

// parseTag refuses what makes this package's JSON library and encoding/json, or the schema, differ.
func parseTag(sf reflect.StructField) (tag, error) {
	raw := sf.Tag.Get("json")
	if raw == "-" {
		return tag{skip: true}, nil
	}
	name, options, _ := strings.Cut(raw, ",")
	t := tag{name: cmp.Or(name, sf.Name), named: name != ""}
	if strings.ContainsAny(raw, "'\"`\\") {
		return t, fmt.Errorf("json tag %q: quotes and backslashes are not supported", raw)
	}
	for option := range strings.SplitSeq(options, ",") {
		option, _, _ = strings.Cut(option, ":")
		switch option {
		case "omitempty", "omitzero":
			t.optional = true
		case "string":
			t.quoted = true
		case "inline", "unknown", "case", "format":
			return t, fmt.Errorf("json tag %q: the option %s is not supported", raw, option)
		}
	}
	return t, nil
}

// members lists the members of a struct type by the rules of encoding/json: a shallower field hides a deeper one of
// the same name, at equal depth a tagged one wins, and what is left ambiguous is dropped.
func members(root reflect.Type) ([]member, error) {
	type embedded struct {
		typ    reflect.Type
		index  []int
		again  bool // its own embedded structs have been visited before
		hidden bool

		optional bool // it is a pointer, nil or not, that is tagged omitempty or omitzero
	}
	queue := []embedded{{typ: root}}
	seen := map[reflect.Type]bool{root: true}
	var all []member
	for len(queue) > 0 {
		e := queue[0]
		queue = queue[1:]
		for i := range e.typ.NumField() {
			sf := e.typ.Field(i)
			t, err := parseTag(sf)
			if err != nil {
				return nil, &typeError{path: sf.Name, err: err}
			}
			if t.skip || (!sf.IsExported() && !sf.Anonymous) {
				continue
			}
			index := append(slices.Clone(e.index), i)
			t.optional = t.optional && (!sf.Anonymous || t.named || sf.Type.Kind() == reflect.Pointer) || e.optional
			if !sf.Anonymous || t.named {
				all = append(all, member{sf, index, t, e.hidden})
				continue
			}
			base := sf.Type
			if base.Kind() == reflect.Pointer && base.Name() == "" {
				base = base.Elem()
			}
			if base.Kind() != reflect.Struct {
				return nil, &typeError{path: sf.Name, err: errors.New("an embedded field that is no struct needs a json tag with a name")}
			}
			if !e.again {
				hidden := e.hidden || (base != sf.Type && !sf.IsExported())
				queue = append(queue, embedded{base, index, seen[base], hidden, t.optional})
			}
			seen[base] = true
		}
	}
	return dominant(all), nil
}

// dominant keeps one member per name, and puts them in the order of the fields.
func dominant(all []member) []member {
	slices.SortStableFunc(all, func(a, b member) int {
		return cmp.Or(strings.Compare(a.tag.name, b.tag.name), rank(a)-rank(b))
	})
	var kept []member
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].tag.name == all[0].tag.name {
			n++
		}
		if n == 1 || rank(all[0]) != rank(all[1]) {
			kept = append(kept, all[0])
		}
		all = all[n:]
	}
	slices.SortFunc(kept, func(a, b member) int { return slices.Compare(a.index, b.index) })
	return kept
}

// rank is lower for the member that wins over others of its name.
func rank(m member) int {
	r := 2 * len(m.index)
	if !m.tag.named {
		r++
	}
	return r
}
