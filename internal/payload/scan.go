package payload

// scan walks JSON that the decoder has accepted for a type, and finds what the decoder lets pass although the schema
// does not: missing required members, nulls out of place, and numbers in strings that only Go would read. It
// allocates nothing unless it finds a fault.
type scan struct {
	data  []byte
	whole bool // missing members are faults
	fault *Error
}

// check returns the fault of data, which is a value of the type that r uses, or nil.
func check(r ref, data []byte, whole bool) *Error {
	s := scan{data: data, whole: whole}
	s.value(r, skipSpace(data, 0))
	return s.fault
}

// value checks the value at offset i and returns the offset behind it, or -1 once there is a fault.
func (s *scan) value(r ref, i int) int {
	if s.data[i] == 'n' {
		if !r.nullable() {
			return s.fail("expected " + r.expected() + ", got null")
		}
		return i + len("null")
	}
	if !r.deep {
		return skipValue(s.data, i)
	}
	switch r.kind {
	case object:
		return s.object(r.shape, i)
	case mapping:
		return s.mapping(r.shape, i)
	case list:
		return s.list(r.shape, i)
	default:
		return s.quoted(r.shape, i)
	}
}

func (s *scan) fail(problem string) int {
	s.fault = &Error{Problem: problem}
	return -1
}

// within adds to the fault's path on the way out of the recursion.
func (s *scan) within(path string) int {
	s.fault.Path = joinPaths(path, s.fault.Path)
	return -1
}

func (s *scan) object(sh *shape, start int) int {
	data, i := s.data, start+1
	found, next := 0, 0
	for {
		i = skipSpace(data, i)
		switch data[i] {
		case '}':
			i++
			if s.whole && found < sh.required {
				return s.missing(sh, start)
			}
			return i
		case ',':
			i = skipSpace(data, i+1)
		}
		var at int
		at, i = sh.field(data, i, next)
		i = skipSpace(data, skipSpace(data, i)+1) // the colon
		if at < 0 {
			i = skipValue(data, i)
			continue
		}
		f := &sh.fields[at]
		next = at + 1
		if f.required {
			found++
		}
		if i = s.value(f.ref, i); i < 0 {
			return s.within(appendName("", f.name))
		}
	}
}

// field reads the member name at offset i and returns the index of its field, or -1, and the offset behind the name.
// It tries the field at index next first, since members mostly come in the order of the fields.
func (sh *shape) field(data []byte, i, next int) (at, end int) {
	if next < len(sh.fields) {
		// No field name has a quote or a backslash in it, so that equal bytes are an equal name.
		name := sh.fields[next].name
		end = i + 1 + len(name)
		if end < len(data) && data[end] == '"' && string(data[i+1:end]) == name {
			return next, end + 1
		}
	}
	end, escaped := skipString(data, i)
	name := data[i+1 : end-1]
	if escaped {
		var buf [64]byte
		name = unquote(buf[:], data[i:end])
	}
	if at, ok := sh.byName[string(name)]; ok {
		return at, end
	}
	return -1, end
}

// missing names the first required field that the object at offset i lacks.
func (s *scan) missing(sh *shape, i int) int {
	data := s.data
	seen := make([]bool, len(sh.fields))
	for i++; ; {
		i = skipSpace(data, i)
		if data[i] == '}' {
			break
		}
		if data[i] == ',' {
			i = skipSpace(data, i+1)
		}
		var at int
		at, i = sh.field(data, i, 0)
		if at >= 0 {
			seen[at] = true
		}
		i = skipValue(data, skipSpace(data, skipSpace(data, i)+1))
	}
	for at, f := range sh.fields {
		if f.required && !seen[at] {
			s.fail(problemMissing)
			return s.within(appendName("", f.name))
		}
	}
	return s.fail("duplicate or missing field") // Cannot be: the decoder refuses duplicates.
}

func (s *scan) mapping(sh *shape, i int) int {
	data := s.data
	for i++; ; {
		i = skipSpace(data, i)
		switch data[i] {
		case '}':
			return i + 1
		case ',':
			i = skipSpace(data, i+1)
		}
		start := i
		i, _ = skipString(data, start)
		name := data[start:i]
		if sh.keys != textKeys && !isInteger(plain(name), sh.keys == signedKeys) {
			s.fail(problemKey)
			return s.within(appendName("", string(unquote(nil, name))))
		}
		i = skipSpace(data, skipSpace(data, i)+1)
		if i = s.value(sh.elem, i); i < 0 {
			return s.within(appendName("", string(unquote(nil, name))))
		}
	}
}

func (s *scan) list(sh *shape, i int) int {
	data := s.data
	i++
	for n := 0; ; n++ {
		i = skipSpace(data, i)
		switch data[i] {
		case ']':
			return i + 1
		case ',':
			i = skipSpace(data, i+1)
		}
		if i = s.value(sh.elem, i); i < 0 {
			return s.within(appendIndex("", n))
		}
	}
}

// quoted checks JSON text inside a string, which the decoder reads by Go's grammar (0x10, +1, NaN, null).
func (s *scan) quoted(sh *shape, i int) int {
	end, _ := skipString(s.data, i)
	content := plain(s.data[i:end])
	ok := true
	switch sh.inner {
	case integer:
		ok = isInteger(content, sh.typ.Kind() <= signedMax)
	case number:
		ok = isNumber(content)
	case text, boolean:
		ok = string(content) != "null"
	}
	if !ok {
		return s.fail("expected " + sh.expected())
	}
	return end
}

// plain returns the content of a string literal, decoding it only if it has escapes.
func plain(quoted []byte) []byte {
	if _, escaped := skipString(quoted, 0); escaped {
		return unquote(nil, quoted)
	}
	return quoted[1 : len(quoted)-1]
}
