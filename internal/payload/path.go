package payload

import (
	"strconv"
	"strings"
	"unicode"
)

// appendName adds an object member to a path: .name, or ["name"] where a bare name would mislead.
func appendName(path, name string) string {
	if !plainName(name) {
		return path + "[" + strconv.Quote(name) + "]"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// appendIndex adds an array element to a path.
func appendIndex(path string, i int) string {
	return path + "[" + strconv.Itoa(i) + "]"
}

// joinPaths puts a path below another one.
func joinPaths(outer, inner string) string {
	if outer == "" || inner == "" || inner[0] == '[' {
		return outer + inner
	}
	return outer + "." + inner
}

func plainName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r == '.' || r == '[' || r == ']' || r == '"' || unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
}
