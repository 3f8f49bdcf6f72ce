package commands

import "strings"

// path is the registries that a registration has come through, the first one
// first: their tokens, with commas between. One that finds itself in it is in a
// cycle of routers, knows the command, and does not pass it on.
type path string

// maxPath bounds it.
const maxPath = 64

func (p path) through(token string) string {
	if p == "" {
		return token
	}
	return string(p) + "," + token
}

func (p path) has(token string) bool {
	for t := range strings.SplitSeq(string(p), ",") {
		if t == token {
			return true
		}
	}
	return false
}

func (p path) tooLong() bool { return strings.Count(string(p), ",") >= maxPath-1 }
