// Package ids makes the IDs of messages.
package ids

import "math/rand/v2"

// New returns a random UUID (version 4).
//
// Its bits come from math/rand/v2, which is ChaCha8 seeded by the operating
// system: two per-thread reads instead of a system call. Message IDs are
// unique, not secret: a reply is believed because of the link it came from.
func New() string { return format(rand.Uint64(), rand.Uint64()) }

// NewEnding is New for a UUID that ends in the hexadecimal digit for last, which is below 16.
func NewEnding(last uint8) string {
	return format(rand.Uint64(), rand.Uint64()&^0xf|uint64(last&0xf))
}

// pairs is the 256 pairs of hexadecimal digits.
var pairs = func() (p [256][2]byte) {
	const digits = "0123456789abcdef"
	for i := range p {
		p[i] = [2]byte{digits[i>>4], digits[i&15]}
	}
	return p
}()

// format writes 128 bits, with those of the version and the variant set: encoding/hex, which uuid.UUID.String uses, takes
// longer than all the rest.
func format(hi, lo uint64) string {
	hi = hi&^0xf000 | 0x4000
	lo = lo&^(0xc<<60) | 0x8<<60
	var b [36]byte
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	put := func(at int, v byte) { b[at], b[at+1] = pairs[v][0], pairs[v][1] }
	put(0, byte(hi>>56))
	put(2, byte(hi>>48))
	put(4, byte(hi>>40))
	put(6, byte(hi>>32))
	put(9, byte(hi>>24))
	put(11, byte(hi>>16))
	put(14, byte(hi>>8))
	put(16, byte(hi))
	put(19, byte(lo>>56))
	put(21, byte(lo>>48))
	put(24, byte(lo>>40))
	put(26, byte(lo>>32))
	put(28, byte(lo>>24))
	put(30, byte(lo>>16))
	put(32, byte(lo>>8))
	put(34, byte(lo))
	return string(b[:])
}
