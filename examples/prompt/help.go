package prompt

import (
	"context"
	"fmt"
	"strings"
)

func (s *session) help(_ context.Context, word string) error {
	if word == "" {
		_, err := fmt.Fprint(s.out, s.overview())
		return err
	}
	v := s.verb(word)
	if v == nil {
		return problem("no help about "+quoted(word), "help")
	}
	text := v.usage() + ": " + v.help + "\n"
	if v.more != "" {
		text += "  " + strings.ReplaceAll(v.more, "\n", "\n  ") + "\n"
	}
	_, err := fmt.Fprint(s.out, text)
	return err
}

func (s *session) overview() string {
	var b strings.Builder
	for _, v := range s.verbs {
		b.WriteString(s.out.bold(fmt.Sprintf("%-26s", v.usage())) + v.help + "\n")
	}
	b.WriteString(s.out.dim("help call, help emit and help listen show examples") + "\n")
	return b.String()
}
