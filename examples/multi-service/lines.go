package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
)

// plainLines reads lines as they come, with no editing.
type plainLines struct {
	in      *bufio.Reader
	prompts io.Writer
}

func newPlainLines(in io.Reader, prompts io.Writer) *plainLines {
	return &plainLines{in: bufio.NewReader(in), prompts: prompts}
}

// ReadLine does not look at ctx while it waits: a signal ends the program.
func (l *plainLines) ReadLine(ctx context.Context, q question) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if _, err := io.WriteString(l.prompts, q.prompt); err != nil {
		return "", err
	}
	line, err := l.in.ReadString('\n')
	if errors.Is(err, io.EOF) && line != "" {
		err = nil // the last line may lack its end
	} else if err != nil {
		_, _ = io.WriteString(l.prompts, "\n") // what follows is no answer
	}
	return strings.TrimRight(line, "\r\n"), err
}
