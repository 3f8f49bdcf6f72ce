package payload

import "github.com/go-json-experiment/json/jsontext"

// The functions in this file walk JSON that is known to be well-formed, so they look at as few bytes as they can.
// Each takes the offset of what it reads and returns the offset behind it.

func skipSpace(data []byte, i int) int {
	for i < len(data) && data[i] <= ' ' {
		i++
	}
	return i
}

// skipString takes the offset of the opening quote. It reports whether there is a backslash in the string.
func skipString(data []byte, i int) (end int, escaped bool) {
	for i++; i < len(data); i++ {
		switch data[i] {
		case '"':
			return i + 1, escaped
		case '\\':
			escaped = true
			i++
		}
	}
	return len(data), escaped
}

// skipScalar skips a number or a literal.
func skipScalar(data []byte, i int) int {
	for i < len(data) {
		switch data[i] {
		case ',', ']', '}', ' ', '\t', '\n', '\r':
			return i
		}
		i++
	}
	return i
}

func skipValue(data []byte, i int) int {
	switch data[i] {
	case '"':
		end, _ := skipString(data, i)
		return end
	case '{', '[':
		return skipContainer(data, i)
	default:
		return skipScalar(data, i)
	}
}

func skipContainer(data []byte, i int) int {
	depth := 0
	for i < len(data) {
		switch data[i] {
		case '"':
			i, _ = skipString(data, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
			if depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return i
}

// unquote decodes the string literal quoted into buf, which it may grow.
func unquote(buf, quoted []byte) []byte {
	out, err := jsontext.AppendUnquote(buf[:0], quoted)
	if err != nil {
		return buf[:0] // Cannot be: the literal is part of JSON that was accepted.
	}
	return out
}

// isInteger reports whether s is a JSON number without a fraction and an exponent.
func isInteger(s []byte, signed bool) bool {
	if signed && len(s) > 0 && s[0] == '-' {
		s = s[1:]
	}
	if len(s) == 0 || (s[0] == '0' && len(s) > 1) {
		return false
	}
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// isNumber reports whether s is a JSON number and nothing else.
func isNumber(s []byte) bool {
	if len(s) == 0 || (s[0] != '-' && (s[0] < '0' || s[0] > '9')) || s[len(s)-1] <= ' ' {
		return false
	}
	return jsontext.Value(s).IsValid()
}
