package main

import "strings"

// historyLimit bounds the lines that are remembered.
const historyLimit = 500

// history remembers the lines that were commands, not the answers to
// questions in between, and none twice in a row. It implements term.History.
type history struct {
	open  bool     // a command is being read
	lines []string // oldest first
}

func (h *history) Add(line string) {
	line = strings.TrimSpace(line)
	if !h.open || line == "" || len(h.lines) > 0 && h.lines[len(h.lines)-1] == line {
		return
	}
	h.lines = append(h.lines, line)
	if len(h.lines) > historyLimit {
		h.lines = h.lines[1:]
	}
}

func (h *history) Len() int {
	if !h.open {
		return 0
	}
	return len(h.lines)
}

func (h *history) At(i int) string { return h.lines[len(h.lines)-1-i] }
