package payload

import "strings"

// The problems that [Error] words as the kind of a field instead of appending them to its path.
const (
	problemMissing = "missing"
	problemUnknown = "unknown"
	problemAbsent  = "missing payload"
)

// problemKey is the problem of a member of a map whose Go keys are integers.
const problemKey = "expected an integer of the key's range as the name"

// maxPath bounds how much of a path the text of an error shows, in bytes.
const maxPath = 256

// Error says what is wrong with a payload, and where. Its text is meant for the peer that sent the payload: it
// names JSON fields and JSON types. It quotes short values of the payload, and the words of the error that a
// type's own UnmarshalJSON or UnmarshalText returned.
type Error struct {
	// Path leads to the field, as in user.tags[2]; it is empty for the payload as a whole.
	Path string
	// Problem is what is wrong there, as in "expected string, got number", "missing", "unknown" or "duplicate".
	Problem string
	// Hint, which may be empty, is a likely remedy.
	Hint string

	cause error
}

// Error words the path and the problem in one line.
func (e *Error) Error() string {
	var b strings.Builder
	path := e.Path
	if len(path) > maxPath {
		path = path[:maxPath/2] + "..." + path[len(path)-maxPath/2:]
	}
	switch {
	case path == "":
		b.WriteString(e.Problem)
	case e.Problem == problemMissing || e.Problem == problemUnknown:
		b.WriteString(e.Problem + ` field "` + path + `"`)
	default:
		b.WriteString(`field "` + path + `": ` + e.Problem)
	}
	if e.Hint != "" {
		b.WriteString(" (" + e.Hint + ")")
	}
	return b.String()
}

// Unwrap returns the error that a type's own method returned, or the JSON library's, or nil.
func (e *Error) Unwrap() error { return e.cause }
