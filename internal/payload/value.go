package payload

import (
	"math"
	"strconv"
	"strings"
)

// maxDepth bounds the nesting of what is parsed for a schema, since the library's work on an error grows with its square.
const maxDepth = 1000

// The containers and strings of a parsed document have types of their own, so that an error of the library, which shows the
// value that it is about, shows little: it makes one for each alternative that does not fit.
type (
	jsonObject map[string]any
	jsonArray  []any
	jsonText   string
)

// maxShown bounds what an error shows of a string, in bytes.
const maxShown = 64

func (jsonObject) String() string { return "an object" }
func (jsonArray) String() string  { return "an array" }
func (s jsonText) String() string {
	if len(s) <= maxShown {
		return string(s)
	}
	return strings.ToValidUTF8(string(s[:maxShown]), "") + "..."
}

// parser builds the Go value that a schema is applied to from well-formed JSON.
type parser struct {
	data  []byte
	fault *Error
	buf   []byte // for unescaping, reused
	depth int

	limit   int // the bound of depth
	deepest int // that depth came to
}

// parse differs from decoding into an any in its numbers: integers keep their 64 bits. It returns too how deep the
// containers are nested, which it refuses beyond limit.
func parse(data []byte, limit int) (any, int, *Error) {
	p := parser{data: data, limit: limit}
	v, _ := p.value(skipSpace(data, 0))
	return v, p.deepest, p.fault
}

// value returns the value at offset i and the offset behind it, or -1 once there is a fault.
func (p *parser) value(i int) (any, int) {
	switch p.data[i] {
	case '{', '[':
		return p.container(i)
	case '"':
		s, end := p.text(i)
		return jsonText(s), end
	case 't':
		return true, i + len("true")
	case 'f':
		return false, i + len("false")
	case 'n':
		return nil, i + len("null")
	default:
		end := skipScalar(p.data, i)
		n, ok := parseNumber(string(p.data[i:end]))
		if !ok {
			p.fault = &Error{Problem: brief(p.data[i:end]) + "is out of range"}
			return nil, -1
		}
		return n, end
	}
}

func (p *parser) container(i int) (any, int) {
	if p.depth == p.limit {
		p.fault = &Error{Problem: "nested too deeply"}
		return nil, -1
	}
	p.depth++
	p.deepest = max(p.deepest, p.depth)
	defer func() { p.depth-- }()
	if p.data[i] == '{' {
		return p.object(i)
	}
	return p.array(i)
}

func parseNumber(s string) (any, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n, true
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil && !math.IsInf(f, 0)
}

func (p *parser) text(i int) (string, int) {
	end, escaped := skipString(p.data, i)
	if !escaped {
		return string(p.data[i+1 : end-1]), end
	}
	p.buf = unquote(p.buf, p.data[i:end])
	return string(p.buf), end
}

func (p *parser) object(i int) (any, int) {
	members := jsonObject{}
	for i++; ; {
		i = skipSpace(p.data, i)
		switch p.data[i] {
		case '}':
			return members, i + 1
		case ',':
			i = skipSpace(p.data, i+1)
		}
		name, end := p.text(i)
		i = skipSpace(p.data, skipSpace(p.data, end)+1)
		if members[name], i = p.value(i); i < 0 {
			p.fault.Path = joinPaths(appendName("", name), p.fault.Path)
			return nil, -1
		}
	}
}

func (p *parser) array(i int) (any, int) {
	elements := jsonArray{}
	for i++; ; {
		i = skipSpace(p.data, i)
		switch p.data[i] {
		case ']':
			return elements, i + 1
		case ',':
			i = skipSpace(p.data, i+1)
		}
		var v any
		if v, i = p.value(i); i < 0 {
			p.fault.Path = joinPaths(appendIndex("", len(elements)), p.fault.Path)
			return nil, -1
		}
		elements = append(elements, v)
	}
}
