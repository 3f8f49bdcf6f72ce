package main

import "io"

// The terminal package ends its input at Ctrl-C and Ctrl-D, with the cursor
// still in the line. Here the one gives up a line and the other may give up a
// question, so they are turned into keys that the package hands on to the
// editor (Ctrl-\ and Ctrl-], which have no other use in raw mode).
const (
	ctrlC        = 0x03
	ctrlD        = 0x04
	keyInterrupt = 0x1c
	keyEnd       = 0x1d
	keyEnter     = '\r'
)

// keys is the keyboard as the editor wants it.
type keys struct {
	from    io.Reader
	pending []byte // read and translated, not yet handed on
	buffer  [256]byte
}

func (k *keys) Read(p []byte) (int, error) {
	for len(k.pending) == 0 {
		n, err := k.from.Read(k.buffer[:])
		if n == 0 {
			return 0, err
		}
		k.translate(k.buffer[:n])
	}
	n := copy(p, k.pending)
	k.pending = k.pending[n:]
	return n, nil
}

func (k *keys) translate(typed []byte) {
	for _, b := range typed {
		switch b {
		case ctrlC:
			k.pending = append(k.pending, keyInterrupt, keyEnter)
		case ctrlD:
			k.pending = append(k.pending, keyEnd)
		case keyInterrupt, keyEnd: // as typed they mean nothing
		default:
			k.pending = append(k.pending, b)
		}
	}
}

// enter ends the line that is being read, when what was typed so far is used up.
func (k *keys) enter() { k.pending = append(k.pending, keyEnter) }
