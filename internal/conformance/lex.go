package conformance

import "strings"

// lex splits an expression into tokens. A string is one token, its text after
// a single quote, whichever quotes it had.
func lex(text string) ([]string, error) {
	var tokens []string
	for i := 0; i < len(text); {
		start := i
		switch c := text[i]; {
		case c == ' ' || c == '\t' || c == '\n':
			i++
			continue
		case c == '\'' || c == '"':
			s, end, ok := lexString(text, i)
			if !ok {
				return nil, notUnderstood("the expression %q: a string does not end", text)
			}
			tokens = append(tokens, "'"+s)
			i = end
			continue
		case isDigit(c):
			i = lexNumber(text, i)
		case isLetter(c):
			for i < len(text) && (isLetter(text[i]) || isDigit(text[i])) {
				i++
			}
		case strings.IndexByte("+-*/%().[]", c) >= 0:
			i++
		default:
			return nil, notUnderstood("the expression %q: character %q", text, c)
		}
		tokens = append(tokens, text[start:i])
	}
	return tokens, nil
}

// lexString takes the offset of the opening quote. A backslash stands before a
// quote or a backslash that is meant as such.
func lexString(text string, i int) (s string, end int, ok bool) {
	quote := text[i]
	var b strings.Builder
	for i++; i < len(text); i++ {
		switch c := text[i]; {
		case c == quote:
			return b.String(), i + 1, true
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", i, false
}

// lexNumber finds the end of a number; whether it is one is seen later.
func lexNumber(text string, i int) int {
	for i < len(text) {
		c := text[i]
		sign := (c == '+' || c == '-') && (text[i-1] == 'e' || text[i-1] == 'E')
		if !isDigit(c) && c != '.' && c != 'e' && c != 'E' && !sign {
			break
		}
		i++
	}
	return i
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '$'
}

func isWord(token string) bool { return token != "" && isLetter(token[0]) }
