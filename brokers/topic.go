package brokers

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// naming says which names a broker takes as they are: tokens of letters, digits and others, with single dots between
// them.
type naming struct {
	others string
	max    int // bytes
}

var (
	// plainNames are legal everywhere but on Kafka.
	plainNames = naming{"-_", 180}
	// dashNames lack the underscore: Kafka refuses a.b where there is an a_b.
	dashNames = naming{"-", 180}

	hashed  = regexp.MustCompile(`-h[0-9a-f]{32}$`)
	illegal = regexp.MustCompile(`[^A-Za-z0-9]+`)
)

// keeps reports whether the name can be used as it is.
func (n naming) keeps(name string) bool {
	dot := true // the letter before is one, or there is none
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte(n.others, c) >= 0:
			dot = false
		case c == '.' && !dot:
			dot = true
		default:
			return false
		}
	}
	return !dot && len(name) <= n.max
}

// topic returns name where it is legal, and else what can be read of it with a
// hash of the whole. A legal name that looks like one with a hash gets one too,
// so that no two names get the same topic.
func (n naming) topic(name string) string {
	if n.keeps(name) && !hashed.MatchString(name) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	readable := strings.Trim(illegal.ReplaceAllString(name, "-"), "-")
	if len(readable) > 40 {
		readable = strings.TrimRight(readable[:40], "-")
	}
	if readable == "" {
		readable = "x"
	}
	return readable + "-h" + hex.EncodeToString(sum[:16])
}

func (n naming) check(topic string) error {
	if !n.keeps(topic) {
		return fmt.Errorf("%w %q: use Broker.Topic", ErrIllegalTopic, topic)
	}
	return nil
}

// part quotes what could be mistaken for the dot between two parts.
func part(s string) string {
	return strings.NewReplacer("%", "%25", ".", "%2E").Replace(s)
}
